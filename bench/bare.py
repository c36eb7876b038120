"""A night of flows/nightly.py by csift's functions alone, one stage after another: what bench/loop.py holds Prefect against."""

from typing import Any

from csift import corpus, cycles, dataset, evalsets, evaluation, labels, promotion, rag, registry, synthesis, training
from csift.config import LoopConfig, TrainingConfig
from csift.db import database
from csift.db.base import now
from csift.forgetting import retention
from csift.leases import hold
from csift.prompts import answer_prompt
from csift.reports.run_report import RunReport, render_run_report
from csift.schemas import Adapter, DatasetVersion, EvalReport, GenerationParams, HumanFeedback, SynthesisReport, System, Teacher
from csift.settings import settings
from csift.training import Run, TrainingData, TrainingRow
from tasks import collaborators as use
from tasks.drift import compare


class Bare:
    """One night of a project that never had one."""

    def __init__(self, config: LoopConfig) -> None:
        self.config, self.project, self.db = config, config.project, database()
        self.base = use.base_model(config.training.base_model)

    def night(self) -> None:
        """All stages, under the project's lease."""
        with hold(self.db, f"cycle of {self.project}"):
            self.cycle_id = cycles.begin(self.db, self.project, "manual", now())
            drifted = compare(self.config)
            self._ingest()
            version = self._dataset()
            adapter = self._trained(self._rows(version), version.id, self.config.training)
            champion, challenger = self._system(None), self._system(adapter.id)
            reports = [self._judged(registry.bootstrap_champion(self.db, self.project, champion)), self._judged(challenger)]
            self._decide(champion, challenger, reports, {"dataset": version, "drift": drifted})

    def _ingest(self) -> None:
        self.ingested = corpus.ingest(self.db, use.index(self.project, self.config.retrieval), self.project, self.config.corpus)
        self.snapshot = self.ingested.snapshot
        self.labelled = labels.register(self.db, self.project, self.config.corpus, self.ingested)
        self.evalset = evalsets.freeze(self.db, self.project, self.labelled, self.config.gate.min_items)
        self.chunks = corpus.load_chunks(self.db, self.snapshot)

    def _dataset(self) -> DatasetVersion:
        teacher, made = self._written()
        with self.db.session() as session:
            splits = labels.document_splits(session, self.project)
        ingredients = dataset.Ingredients(
            snapshot=self.snapshot,
            chunks=self.chunks,
            splits=splits,
            labels=self.labelled,
            synthetic=made.examples,
            feedback=HumanFeedback(),
            preferences=(),
            synthesis=SynthesisReport(
                teacher=teacher.name, candidates=made.candidates, accepted=len(made.examples), rejected={}, samples=()
            ),
            rejections=made.rejections,
        )
        return dataset.build(
            self.db,
            self.project,
            ingredients,
            evalset_id=self.evalset.id,
            embedder=use.embedder(),
            retriever=use.retriever(self.config),
            k=self.config.retrieval.k,
            config=self.config.dataset,
            recipe={},
        )

    def _written(self) -> tuple[Teacher, Any]:
        """The tuned teacher, and what it wrote."""
        config, train = self.config, self.labelled.of_split("train")
        allowed = use.trainable_chunks(self.project, self.snapshot.id)
        lessons = synthesis.lessons_for(train, allowed)
        rows = [TrainingRow(row.prompt, row.completion) for row in synthesis.lesson_rows(lessons)]
        told = synthesis.tuning(config.teacher, config.training.max_length)
        teacher = Teacher(model=config.teacher.model, adapter_id=self._trained(rows, synthesis.lessons_hash(lessons), told).id)
        writer = use.writer(config, self.cycle_id, teacher)
        near = config.dataset.near_duplicate
        return teacher, synthesis.synthesise(writer, allowed, train, use.embedder(), config.synthesis, near)

    def _rows(self, version: DatasetVersion) -> list[TrainingRow]:
        texts = {chunk.id: chunk.text for chunk in self.chunks}
        return [
            TrainingRow(answer_prompt(row.question, [texts[id_] for id_ in row.context_chunk_ids]), row.answer)
            for row in dataset.load_examples(self.db, version)
        ]

    def _trained(self, rows: list[TrainingRow], name: str, told: TrainingConfig) -> Adapter:
        scratch, threads = settings().root / "training", settings().threads
        adapter = training.train(Run(self.base, TrainingData(pairs=rows), name, told, use.store(), scratch, threads))
        with self.db.session() as session:
            registry.save_adapter(session, adapter)
        return adapter

    def _system(self, adapter_id: str | None) -> System:
        return System.of(
            base_model=self.base.name,
            base_revision=self.base.revision,
            adapter_id=adapter_id,
            program="standard",
            program_hash=rag.standard_program_hash(),
            snapshot_id=self.snapshot.id,
            embedder=use.retriever(self.config).id,
            k=self.config.retrieval.k,
            generation=GenerationParams(),
        )

    def _judged(self, system: System) -> EvalReport:
        registry.save_system(self.db, system)
        engine = use.answering(self.base, self.cycle_id, "rag", system.adapter_id)
        program = rag.standard_program(use.retriever(self.config), system.k)
        measured_with = use.instruments(self.config, system)
        return evaluation.evaluate(self.db, system, self.evalset, program, engine, use.judge(self.config), measured_with)

    def _decide(self, champion: System, challenger: System, reports: list[EvalReport], shown: dict[str, Any]) -> None:
        kept = retention(
            self.db, champion, challenger, lambda asked: use.answering(self.base, self.cycle_id, "general", asked.adapter_id)
        )
        before, after = reports
        evidence = promotion.pair(before, after, self.evalset, kept)
        history = registry.history(self.db, self.project, self.evalset.life)
        decision = registry.save_decision(self.db, promotion.decide(evidence, history, self.config.gate.policy))
        page = RunReport(
            project=self.project,
            cycle=cycles.load(self.db, self.cycle_id),
            champion=champion,
            champion_report=before,
            challenger=challenger,
            challenger_report=after,
            decision=decision,
            retention=kept,
            losses=(),
            retired=self.labelled.retired,
            evalset=self.evalset,
            **shown,
        )
        use.store().put(f"reports/{self.cycle_id}.html", render_run_report(page).encode())
