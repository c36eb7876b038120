"""How long the loop takes, how long a run with nothing new takes, and what Prefect adds to the bare calls.

    python bench/loop.py [--quick] [--seed N]

The loop is `csift run nightly` on the bundled catalogue in a temporary data folder, as a user starts it. Prefect's share is
measured on a loop of two training steps with a tiny random model, where it is not drowned: the flow against the same csift
functions called one after another, in this process, interleaved, each time on a project of its own; the ledger is emptied in
between, so that both sides make every call. --quick takes the tiny model everywhere, and its figures mean nothing.
"""

import argparse
import atexit
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ |= {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
logging.disable(logging.WARNING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny random model; within a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # registered first, so it runs last: Postgres stops before
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    from bench.tiny import tiny_model

    tiny = tiny_model(folder, args.seed)
    questions = _few_questions(folder) if args.quick else ROOT / "examples" / "questions-1.jsonl"
    toml = _toml(folder, questions, tiny if args.quick else None, args.seed)
    loop_seconds = _command(toml)
    noop_seconds = _command(toml)
    flows, bare = _sides(tiny, questions, 0 if args.quick else args.repeats, args.seed)
    print(f"with Prefect {sorted(round(s, 2) for s in flows)} s, bare {sorted(round(s, 2) for s in bare)} s")
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    share = (median(flows) - median(bare)) / loop_seconds
    print(
        json.dumps(
            {
                "loop_seconds": round(loop_seconds, 1),
                "noop_seconds": round(noop_seconds, 1),
                "overhead_share": round(share, 4),
                "prefect_seconds": round(median(flows), 2),
                "bare_seconds": round(median(bare), 2),
            }
        )
    )


def _command(toml: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "flows.cli", "run", "nightly", "--config", str(toml)], check=True, cwd=ROOT)
    return time.perf_counter() - began


def _few_questions(folder: Path) -> Path:
    """A quarter of the labelled questions: those of a few products."""
    products = ("kestrel-40", "marlow-d12", "quillon-2", "drayton-30", "isolde", "merrow-4")
    lines = (ROOT / "examples" / "questions-1.jsonl").read_text().splitlines()
    path = folder / "questions.jsonl"
    path.write_text("\n".join(line for line in lines if json.loads(line)["document"].removesuffix(".md") in products))
    return path


def _toml(folder: Path, questions: Path, model: Path | None, seed: int) -> Path:
    text = (ROOT / "examples" / "catalogue.toml").read_text().replace('"questions-1.jsonl"', json.dumps(str(questions)))
    for name in ("catalogue-1", "traffic-1.jsonl"):
        text = text.replace(f'"{name}"', json.dumps(str(ROOT / "examples" / name)))
    text = text.replace("[synthesis]", f"[synthesis]\nseed = {seed}")
    training = f"[training]\nseed = {seed}\n"
    if model:
        text = text.replace("tune_steps = 30", f"tune_steps = 2\nmodel = {json.dumps(str(model))}")
        training += f"base_model = {json.dumps(str(model))}\nmax_steps = 2\n"
    path = folder / "bench.toml"
    path.write_text(f"{text}\n{training}")
    return path


def _sides(model: Path, questions: Path, repeats: int, seed: int) -> tuple[list[float], list[float]]:
    """Seconds of each repeat through the flow and by bare calls; a first pair warms up and counts only if alone."""
    from prefect.testing.utilities import prefect_test_harness

    from csift.config import load_config
    from flows.nightly import nightly
    from tasks.results import result_storage

    example = load_config(ROOT / "examples" / "catalogue.toml")
    training = example.training.model_copy(update={"base_model": str(model), "max_steps": 2, "seed": seed})
    teacher = example.teacher.model_copy(update={"model": str(model), "tune_steps": 2})
    corpus = example.corpus.model_copy(update={"questions": (questions,)})
    config = example.model_copy(update={"training": training, "teacher": teacher, "corpus": corpus})
    sides = {"flow": lambda c: nightly(c), "bare": _bare}
    seconds: dict[str, list[float]] = {"flow": [], "bare": []}
    with prefect_test_harness(server_startup_timeout=60):
        result_storage()
        for repeat in range(repeats + 1):
            for name, side in sides.items():
                _forget_calls()
                began = time.perf_counter()
                side(config.model_copy(update={"project": f"{name}-{repeat}"}))
                seconds[name].append(time.perf_counter() - began)
    first = min(repeats, 1)
    return seconds["flow"][first:], seconds["bare"][first:]


def _forget_calls() -> None:
    """Neither answers nor results of written assignments, so that both sides do the work."""
    import sqlalchemy as sa

    from csift.db import database
    from csift.db.learning import CallRow
    from csift.db.operations import TaskResultRow

    with database().session() as session:
        session.execute(sa.delete(CallRow))
        session.execute(sa.delete(TaskResultRow))


def _bare(config: Any) -> None:
    """The stages of flows/nightly.py by csift's functions alone."""
    from csift import corpus, dataset, evalsets, evaluation, labels, promotion, rag, registry, synthesis, training
    from csift.config import TrainingConfig
    from csift.db import database
    from csift.forgetting import retention
    from csift.leases import hold
    from csift.prompts import answer_prompt
    from csift.reports.run_report import RunReport, render_run_report
    from csift.schemas import Adapter, GenerationParams, HumanFeedback, SynthesisReport, System, Teacher
    from csift.settings import settings
    from csift.training import Run, TrainingData, TrainingRow
    from tasks import collaborators as use
    from tasks.drift import compare

    db, project, root = database(), config.project, settings().root
    with hold(db, f"cycle of {project}"):
        from csift import cycles
        from csift.db.base import now

        cycle_id = cycles.begin(db, project, "manual", now())
        drifted = compare(config)
        ingested = corpus.ingest(db, use.index(project, config.retrieval), project, config.corpus)
        snapshot = ingested.snapshot
        labelled = labels.register(db, project, config.corpus, ingested)
        evalset = evalsets.freeze(db, project, labelled, config.gate.min_items)
        chunks = corpus.load_chunks(db, snapshot)
        with db.session() as session:
            splits = labels.document_splits(session, project)
        base = use.base_model(config.training.base_model)
        train = labelled.of_split("train")
        told = config.synthesis
        allowed = use.trainable_chunks(project, snapshot.id)
        lessons = synthesis.lessons_for(train, allowed)

        def trained(rows: list[TrainingRow], name: str, told: TrainingConfig) -> Adapter:
            scratch, threads = root / "training", settings().threads
            adapter = training.train(Run(base, TrainingData(pairs=rows), name, told, use.store(), scratch, threads))
            with db.session() as session:
                registry.save_adapter(session, adapter)
            return adapter

        tuned = trained(
            [TrainingRow(row.prompt, row.completion) for row in synthesis.lesson_rows(lessons)],
            synthesis.lessons_hash(lessons),
            synthesis.tuning(config.teacher, config.training.max_length),
        )
        teacher = Teacher(model=config.teacher.model, adapter_id=tuned.id)
        writer = use.writer(config, cycle_id, teacher)
        made = synthesis.synthesise(writer, allowed, train, use.embedder(), told, config.dataset.near_duplicate)
        version = dataset.build(
            db,
            project,
            dataset.Ingredients(
                snapshot=snapshot,
                chunks=chunks,
                splits=splits,
                labels=labelled,
                synthetic=made.examples,
                feedback=HumanFeedback(),
                preferences=(),
                synthesis=SynthesisReport(
                    teacher=teacher.name, candidates=made.candidates, accepted=len(made.examples), rejected={}, samples=()
                ),
                rejections=made.rejections,
            ),
            evalset_id=evalset.id,
            embedder=use.embedder(),
            retriever=use.retriever(config),
            k=config.retrieval.k,
            config=config.dataset,
            recipe={},
        )
        texts = {chunk.id: chunk.text for chunk in chunks}
        training_rows = [
            TrainingRow(answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids]), row.answer)
            for row in dataset.load_examples(db, version)
        ]
        adapter = trained(training_rows, version.id, config.training)

        def system(adapter_id: str | None) -> System:
            return System.of(
                base_model=base.name,
                base_revision=base.revision,
                adapter_id=adapter_id,
                program="standard",
                program_hash=rag.standard_program_hash(),
                snapshot_id=snapshot.id,
                embedder=use.retriever(config).id,
                k=config.retrieval.k,
                generation=GenerationParams(),
            )

        reports = []
        for answering in (registry.bootstrap_champion(db, project, system(None)), system(adapter.id)):
            registry.save_system(db, answering)
            engine = use.answering(base, cycle_id, "rag", answering.adapter_id)
            program = rag.standard_program(use.retriever(config), answering.k)
            measured_with = use.instruments(config, answering)
            reports.append(evaluation.evaluate(db, answering, evalset, program, engine, use.judge(config), measured_with))
        kept = retention(
            db, system(None), system(adapter.id), lambda asked: use.answering(base, cycle_id, "general", asked.adapter_id)
        )
        policy = config.gate.policy
        before, after = reports
        evidence, history = promotion.pair(before, after, evalset, kept), registry.history(db, project, evalset.life)
        decision = registry.save_decision(db, promotion.decide(evidence, history, policy))
        page = RunReport(
            project=project,
            cycle=cycles.load(db, cycle_id),
            champion=system(None),
            champion_report=reports[0],
            challenger=system(adapter.id),
            challenger_report=reports[1],
            decision=decision,
            retention=kept,
            losses=(),
            dataset=version,
            retired=labelled.retired,
            drift=drifted,
            evalset=evalset,
        )
        use.store().put(f"reports/{cycle_id}.html", render_run_report(page).encode())


if __name__ == "__main__":
    main()
