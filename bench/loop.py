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

    from bench.bare import Bare
    from csift.config import load_config
    from flows.nightly import nightly
    from tasks.results import result_storage

    example = load_config(ROOT / "examples" / "catalogue.toml")
    training = example.training.model_copy(update={"base_model": str(model), "max_steps": 2, "seed": seed})
    teacher = example.teacher.model_copy(update={"model": str(model), "tune_steps": 2})
    corpus = example.corpus.model_copy(update={"questions": (questions,)})
    config = example.model_copy(update={"training": training, "teacher": teacher, "corpus": corpus})
    sides = {"flow": lambda c: nightly(c), "bare": lambda c: Bare(c).night()}
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


if __name__ == "__main__":
    main()
