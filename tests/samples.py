"""Frozen sample records of one judged cycle, for tests that show something. The same call gives the same record."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from csift.hashing import content_id, sha256
from csift.metrics import RefusalGuard, WordGrounding
from csift.reports.run_report import RunReport
from csift.reports.status import Lineage, PastCycle, Status
from csift.schemas import (
    Cost,
    Cycle,
    CycleState,
    DatasetVersion,
    DocumentRef,
    DriftFigure,
    DriftReport,
    DriftSignal,
    EvalItem,
    EvalReport,
    EvalSet,
    EvalSetHistory,
    Evidence,
    Failure,
    GatePolicy,
    GenerationParams,
    GuardReading,
    GuardResult,
    Interval,
    JudgedAnswer,
    LossPoint,
    Metric,
    PairedItem,
    PromotionDecision,
    Rejection,
    Retention,
    RetiredLabel,
    Score,
    SkillRetention,
    SliceResult,
    StageLosses,
    StageRun,
    SynthesisReport,
    System,
    Verdict,
)

PROJECT = "tarnbeck"
JUDGE = "judge-2b7e151628aed2a6"
SNAPSHOT = "corpus-8f14e45fceea167a"
AT = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
SCRIPT = '<script>alert("from the corpus")</script>'

# Champion's and challenger's correctness for each sample question: None when its judgement failed.
OUTCOMES: tuple[tuple[bool | None, bool | None], ...] = (
    (False, True), (False, True), (True, True), (False, True), (True, False), (False, False),
    (False, True), (True, True), (False, True), (True, None), (False, False), (False, True),
)  # fmt: skip

_QUESTIONS = (
    ("kestrel-40", "factoid", "If I have to lift the Kestrel compressor into my van alone, how heavy is it?", "29 kg"),
    ("orrin", "factoid", "How far away should my cans of solvent be while I solder with the Orrin?", "at least 600 mm"),
    ("orrin", "yes_no", "May I change the Orrin's mains fuse myself?", "Yes"),
    ("harrier", "list", "Which two oils does the Harrier's gearbox accept?", "VG 68 and VG 100"),
    ("lindal", "factoid", "What does the Lindal do after 45 minutes in its stand?", "It shuts down"),
    ("petrel", "unanswerable", "In which city is the Petrel assembled?", None),
    ("petrel", "factoid", "How long does the Petrel's battery last on one charge?", "9 hours"),
    ("averil", "factoid", f"What does the Averil's display show as {SCRIPT}?", f"{SCRIPT} & nothing else"),
    ("caddis", "factoid", "How deep may the Caddis pump be lowered?", "7.5 m"),
    ("caddis", "yes_no", "Is the Caddis safe for drinking water?", "No"),
    ("fathom", "factoid", "Which part number has the Fathom's spare seal?", "FM-0312"),
    ("fathom", "factoid", "How often must the Fathom be calibrated?", "every 12 months"),
)


def sample_items() -> tuple[EvalItem, ...]:
    """Twelve questions; one holds a script, one has no answer; the first half is guarded."""
    return tuple(
        EvalItem(
            id=f"{document}-{number:02d}", question=question, answer=answer, document_id=f"{document}.md",
            document_sha256=sha256(document), style=style, guarded=number < 6,
        )
        for number, (document, style, question, answer) in enumerate(_QUESTIONS)
    )  # fmt: skip


def sample_eval_set(items: Sequence[EvalItem] | None = None) -> EvalSet:
    """An eval set of the given questions."""
    chosen = tuple(items if items is not None else sample_items())
    evalset_id = content_id("evalset", [item.id for item in chosen])
    return EvalSet(id=evalset_id, project=PROJECT, life=1, items=chosen, retired=sample_retired(), previous_id=None)


def sample_system(adapter_id: str | None = None) -> System:
    """A System; the champion of the samples has no adapter."""
    return System.of(
        base_model="smollm2-135m-instruct",
        base_revision="gguf-0.1.2",
        adapter_id=adapter_id,
        program="standard",
        program_hash="5d41402abc4b2a76",
        snapshot_id=SNAPSHOT,
        embedder="minilm-l6-v2",
        k=3,
        generation=GenerationParams(),
    )


def sample_challenger() -> System:
    """The System with the freshly trained adapter."""
    return sample_system("adapter-9a0364b9e99bb480")


def sample_eval_report(
    system: System, evalset: EvalSet, correct: Sequence[bool | None], answers: Sequence[str] = ()
) -> EvalReport:
    """The report on `system`: right, wrong or not judged (None) on each item; `answers` replace its own words."""
    judged = [verdict for verdict in correct if verdict is not None]
    share = sum(judged) / len(judged)
    spread = 1.96 * (share * (1 - share) / len(judged)) ** 0.5
    given = tuple(
        _judged_answer(item, verdict, answers[index] if answers else None)
        for index, (item, verdict) in enumerate(zip(evalset.items, correct, strict=True))
    )
    return EvalReport(
        id=content_id("report", [system.id, evalset.id, list(correct)]),
        system_id=system.id,
        evalset_id=evalset.id,
        judge_id=JUDGE,
        answers=given,
        accuracy=Interval(value=share, low=max(0, share - spread), high=min(1, share + spread)),
        mean_score=share,
        failures=len(correct) - len(judged),
        seconds_per_answer=0.41,
        tokens=231 * len(correct),
        cost_usd=0.0,
        metrics=_sample_metrics(evalset, given),
    )


def _sample_metrics(evalset: EvalSet, answers: Sequence[JudgedAnswer]) -> tuple[Metric, ...]:
    """Some of those that a report has, with made-up intervals; the weaker System was not timed to its first token."""
    scores = [answer.score.value for answer in answers if answer.score]
    golds, mean = sum(item.answer is not None for item in evalset.items), sum(scores) / len(scores)
    words = WordGrounding().id

    def metric(name: str, value: float, spread: float, n: int, over: str, by: str = "rules") -> Metric:
        bounds = Interval(value=value, low=max(0.0, value - spread), high=value + spread)
        return Metric(name=name, value=bounds, n=n, over=over, by=by)

    return (
        metric("score", mean, 0.11, len(scores), "judged answers", JUDGE),
        metric("exact_match", round(0.8 * mean, 3), 0.16, golds, "answerable questions"),
        metric("bertscore", 0.4 + 0.5 * mean, 0.06, golds, "answerable questions", "all-minilm-l6-v2-float32"),
        metric("recall_at_k", 0.875, 0.11, 8, "questions whose answer stands in their document to the letter"),
        metric("faithfulness", 0.5 + 0.4 * mean, 0.07, len(scores) - 1, "answers with a claim of their own", words),
        metric("hallucinated", 0.4 * (1 - mean), 0.1, len(scores) - 1, "answers with a claim of their own", words),
        metric("guard_not_refused", 0.25, 0.19, 12, "guard questions", RefusalGuard().id),
        metric("seconds_p50", 0.41, 0.02, len(answers), "answers", "clock"),
        metric("seconds_p95", 0.62, 0.15, len(answers), "answers", "clock"),
        *([metric("first_token_seconds_p50", 0.19, 0.01, len(answers), "answers", "clock")] if mean > 0.5 else []),
        metric("tokens_out", 10.0, 2.0, len(answers), "answers", "tokenizer"),
    )


def _judged_answer(item: EvalItem, correct: bool | None, answer: str | None) -> JudgedAnswer:
    own = {
        True: item.answer or "The documents do not say.",
        False: "It is described in the manual.",
        None: "Yes, it is.",
    }[correct]
    score = None
    if correct is not None:
        reason = "same number and unit as gold" if correct else "no number of gold in the answer, token F1 0.11"
        score = Score(value=0.97 if correct else 0.14, correct=correct, reason=reason)
    return JudgedAnswer(
        item_id=item.id, question=item.question, gold=item.answer, answer=own if answer is None else answer,
        contexts=(
            f"{item.document_id}: The 1.9 kg base stays put when you tug the lead. {SCRIPT}",
            "Flux smoke irritates the lungs, so run it beside an extractor or an open window.",
            "After switch-off the ring round the stand glows amber until the tip has dropped below 50 °C.",
        ),
        tokens_in=221, tokens_out=10, seconds=0.41, score=score,
        failure=None if score else Failure(kind="timeout", message="the judge gave no answer within 60 s"),
    )  # fmt: skip


def sample_evidence(evalset: EvalSet, champion: EvalReport, challenger: EvalReport) -> Evidence:
    """The two reports paired."""

    def value(answer: JudgedAnswer) -> float | None:
        return None if answer.score is None else float(answer.score.correct)

    items = tuple(
        PairedItem(
            item_id=item.id,
            slices=("guarded" if item.guarded else "new", item.style),
            champion=value(before),
            challenger=value(after),
        )
        for item, before, after in zip(evalset.items, champion.answers, challenger.answers, strict=True)
    )
    return Evidence(
        project=PROJECT,
        champion_system_id=champion.system_id,
        challenger_system_id=challenger.system_id,
        evalset_id=evalset.id,
        judge_id=JUDGE,
        champion_report_id=champion.id,
        challenger_report_id=challenger.id,
        items=items,
        readings=(
            GuardReading(name="general questions", kind="points", champion=0.31, challenger=0.3, worst=-0.05),
            GuardReading(name="seconds an answer", kind="ratio", champion=0.4, challenger=0.38, worst=1.02),
            GuardReading(name="tokens an answer", kind="ratio", champion=410.0, challenger=402.0, worst=0.99),
        ),
    )


def sample_decision(
    verdict: Verdict = Verdict.PROMOTE, evidence: Evidence | None = None, difference: Interval | None = None
) -> PromotionDecision:
    """A decision with the given verdict; its counts follow from the evidence, its intervals are made up."""
    if evidence is None:
        evidence = sample_run_report(verdict).decision.evidence
    pairs = [(i.champion, i.challenger) for i in evidence.items if i.champion is not None and i.challenger is not None]
    before, after = (sum(pair[side] for pair in pairs) / len(pairs) for side in (0, 1))
    middle = after - before
    difference = difference or Interval(value=middle, low=middle - 0.158, high=middle + 0.15)
    reason = {
        Verdict.PROMOTE: "the whole interval is above zero and no slice blocks",
        Verdict.HOLD: "the interval contains zero",
        Verdict.REJECT: "the whole interval is below zero",
    }[verdict]
    return PromotionDecision(
        id=content_id("decision", [verdict, evidence.model_dump()]), verdict=verdict, reason=reason,
        champion_accuracy=Interval(value=before, low=max(0, before - 0.09), high=before + 0.09),
        challenger_accuracy=Interval(value=after, low=after - 0.09, high=min(1, after + 0.09)), difference=difference,
        wins=sum(b < a for b, a in pairs), losses=sum(b > a for b, a in pairs), ties=sum(b == a for b, a in pairs),
        failures=len(evidence.items) - len(pairs), slices=_slices(evidence, verdict), evidence=evidence,
        p_value=0.00021, level=0.0127, conclusive=True,
        guards=tuple(
            GuardResult(reading=reading, limit=limit, holds=True)
            for reading, limit in zip(evidence.readings, (-0.15, 2.0, 2.0), strict=True)
        ),
        history=EvalSetHistory(life=1, held=0, rejected=0, promoted=0),
        policy=GatePolicy(
            false_promotion_rate=0.05, confidence=0.95, target="all", margin=0.05, general_margin=0.15, max_slowdown=2.0,
            max_tokens=2.0, min_items=10, max_failure_share=0.1, min_agreement=0.8,
        ),
    )  # fmt: skip


def _slices(evidence: Evidence, verdict: Verdict) -> tuple[SliceResult, ...]:
    made_up = {
        "guarded": (0.2, -0.02, 0.42),
        "new": (0.5, 0.28, 0.71),
        "factoid": (0.43, 0.2, 0.64),
        "yes_no": (-0.1, -0.4, 0.18),
        "list": (0.3, -0.1, 0.7),
        "unanswerable": (-0.1, -0.31, 0.1) if verdict is Verdict.PROMOTE else (-0.5, -0.83, -0.11),
    }
    names = sorted({name for item in evidence.items for name in item.slices}, key=list(made_up).index)
    return tuple(
        SliceResult(
            name=name,
            items=sum(name in item.slices for item in evidence.items),
            difference=Interval(value=made_up[name][0], low=made_up[name][1], high=made_up[name][2]),
            blocks=made_up[name][2] < 0,
            guarded=made_up[name][1] > -0.05,
        )
        for name in names
    )


def sample_losses(steps: int = 60) -> tuple[LossPoint, ...]:
    """A falling loss with a little noise that is the same each time."""
    return tuple(
        LossPoint(
            step=step,
            loss=0.35 + 2.4 * 0.93**step + 0.13 * ((step * 7919) % 11 - 5) / 5,
            learning_rate=5e-4 * (1 - step / steps),
            tokens=812 * step,
        )
        for step in range(1, steps + 1)
    )


def sample_synthesis() -> SynthesisReport:
    """96 candidates, 41 accepted."""
    samples = (
        (
            "not grounded",
            "What is the weight of the Orrin?",
            "75 W",
            "orrin.md",
            "no sentence of the chunk supports the answer",
        ),
        ("not grounded", "Who made it?", SCRIPT, "averil.md", "no sentence of the chunk supports the answer"),
        (
            "round trip",
            "What is it?",
            "a magnifier arm",
            "orrin.md",
            "asked again, the teacher answered: a soldering station",
        ),
        (
            "near duplicate",
            "How heavy is the Kestrel 40?",
            "29 kg",
            "kestrel-40.md",
            "cosine 0.95 to: how heavy is the Kestrel",
        ),
    )
    return SynthesisReport(
        teacher="smollm2-135m-instruct@gguf-0.1.2",
        candidates=96,
        accepted=41,
        rejected={"not grounded": 24, "round trip": 19, "near duplicate": 9, "leaks an eval question": 3},
        samples=tuple(
            Rejection(reason=reason, question=question, answer=answer, document_id=document, detail=detail)
            for reason, question, answer, document, detail in samples
        ),
    )


def sample_dataset() -> DatasetVersion:
    """221 examples."""
    return DatasetVersion(
        id="dataset-c81e728d9d4c2f63",
        snapshot_id=SNAPSHOT,
        evalset_id=sample_eval_set().id,
        example_ids=tuple(f"example-{number:04d}" for number in range(221)),
        preference_ids=(),
        rating_ids=(),
        recipe={"near_duplicate": 0.92, "leak": 0.9},
        sources={"human": 180, "synthetic": 41},
        replayed=0,
        documents={"train": 9, "eval": 4, "golden": 1},
        decontaminated={"exact": 0, "n-gram": 2, "embedding": 1},
        synthesis=sample_synthesis(),
    )


def sample_retired() -> tuple[RetiredLabel, ...]:
    """Three questions whose product changed, one whose product is gone."""
    return (
        RetiredLabel(label_id="harrier-07", document_id="harrier.md", split="eval", reason="changed"),
        RetiredLabel(label_id="harrier-09", document_id="harrier.md", split="eval", reason="changed"),
        RetiredLabel(label_id="lindal-02", document_id="lindal.md", split="train", reason="changed"),
        RetiredLabel(label_id="ibex-5-01", document_id="ibex-5.md", split="eval", reason="gone"),
    )


def sample_drift(drifted: bool = True) -> DriftReport:
    """A check of 160 questions against 150, whose answers are not known."""
    tested = [("questions", 0.0021, 0.0002 if drifted else 0.41, 0.0016), ("retrieval", 0.01, 0.21, 0.0004)]
    share = DriftFigure(label="share of questions without a good chunk", reference=0.05, current=0.08)
    return DriftReport(
        id="drift-eccbc87e4b5ce2fe",
        reference_hash=sha256("reference"),
        current_hash=sha256("current"),
        reference_rows=150,
        current_rows=160,
        false_alarms=0.1,
        signals=tuple(
            DriftSignal(
                name=name,  # type: ignore[arg-type]
                statistic=statistic,
                p_value=p_value,
                level=level,
                permutations=6200,
                units=310,
                figures=(share,) if name == "retrieval" else (),
            )
            for name, statistic, p_value, level in tested
        ),
        unmeasured={"answers": "fewer than 20 rows of a window have an `answer`"},
        html_uri="drift/eccbc87e4b5ce2fe.html",
    )


def sample_retention(before: System | None = None) -> Retention:
    """Some skills kept, one gained, three lost a little; the champion is the untrained model where `before` is given."""
    figures = {
        "reading": (8, 9, 9), "yes_no": (10, 9, 8), "arithmetic": (1, 1, 1), "format": (0, 1, 3),
        "refusal": (0, 4, 4), "knowledge": (8, 8, 5), "translation": (3, 3, 2), "ordering": (0, 0, 0),
    }  # fmt: skip
    untrained, champion, challenger = (sum(row[side] for row in figures.values()) for side in range(3))
    return Retention(
        id="retention-45c48cce2e2d7fbd",
        general_id="generalset-73914c9f6d66ce33",
        grader="grader-d3d9446802a44259",
        before_system_id=(before or sample_system()).id,
        after_system_id=sample_challenger().id,
        untrained_score_id="general-score-6512bd43d9caa6e0",
        before_score_id="general-score-6512bd43d9caa6e0" if before else "general-score-c20ad4d76fe97759",
        after_score_id="general-score-c51ce410c124a10e",
        questions=119,
        failures=1,
        untrained=untrained,
        before=untrained if before else champion,
        after=challenger,
        confidence=0.95,
        difference=Interval(value=-3 / 119, low=-0.0756, high=0.0252),
        since_untrained=Interval(value=2 / 119, low=-0.0504, high=0.0840),
        skills=tuple(
            SkillRetention(
                skill=skill, questions=14 if skill == "ordering" else 15, untrained=u, before=u if before else b, after=a
            )
            for skill, (u, b, a) in figures.items()
        ),
    )


def sample_cycle(state: CycleState = CycleState.COMPLETED, reason: str = "first training on this corpus") -> Cycle:
    """A manual cycle with every stage; one that found nothing new has the first two only."""
    stages = (
        ("drift", 3.4, "drift-eccbc87e4b5ce2fe"), ("corpus", 2.1, SNAPSHOT), ("synthesis", 96.0, None),
        ("dataset", 4.8, "dataset-c81e728d9d4c2f63"), ("training", 203.5, "adapter-9a0364b9e99bb480"),
        ("evaluation", 118.2, None), ("promotion", 0.31, None),
    )  # fmt: skip
    kept = stages[:2] if state is CycleState.NOTHING_NEW else stages
    return Cycle(
        id=f"{PROJECT}-manual-20261120T020000Z",
        project=PROJECT,
        trigger="manual",
        scheduled_at=AT,
        state=state,
        reason=reason,
        fingerprint="fingerprint-a87ff679a2f3e71d",
        stages=tuple(StageRun(stage=name, state="completed", seconds=seconds, record_id=made) for name, seconds, made in kept),
        cost=Cost(calls=336, reused_calls=24, tokens_in=81_204, tokens_out=5_310, usd=0.0),
        decision_id=None,
        drift_id="drift-eccbc87e4b5ce2fe",
        report_uri=None,
        run_url=None,
    )


def sample_run_report(verdict: Verdict = Verdict.PROMOTE, items: Sequence[EvalItem] | None = None) -> RunReport:
    """A whole judged cycle; with other items, the outcomes of the samples repeat over them."""
    evalset = sample_eval_set(items)
    outcomes = [_outcome(index, verdict) for index in range(len(evalset.items))]
    champion, challenger = sample_system(), sample_challenger()
    before = sample_eval_report(champion, evalset, [outcome[0] for outcome in outcomes])
    after = sample_eval_report(challenger, evalset, [outcome[1] for outcome in outcomes])
    return RunReport(
        project=PROJECT,
        cycle=sample_cycle(),
        champion=champion,
        champion_report=before,
        challenger=challenger,
        challenger_report=after,
        decision=sample_decision(verdict, sample_evidence(evalset, before, after)),
        retention=sample_retention(),
        losses=(StageLosses(method="sft", points=sample_losses()),),
        dataset=sample_dataset(),
        retired=sample_retired(),
        drift=sample_drift(),
        evalset=evalset,
    )


def _outcome(index: int, verdict: Verdict) -> tuple[bool | None, bool | None]:
    """PROMOTE as written above, REJECT with the sides exchanged, HOLD with every second question exchanged."""
    before, after = OUTCOMES[index % len(OUTCOMES)]
    exchanged = verdict is Verdict.REJECT or (verdict is Verdict.HOLD and index % 4 in {0, 3})
    return (after, before) if exchanged else (before, after)


def sample_status() -> Status:
    """A project with a champion, a nothing-new night and the cycle that promoted the champion."""
    run = sample_run_report()
    documents = tuple(DocumentRef(document_id=f"{name}.md", sha256=sha256(name)) for name in ("caddis", "fathom", "orrin"))
    quiet = sample_cycle(CycleState.NOTHING_NEW, "no document, label or feedback changed")
    quiet = quiet.model_copy(update={"id": "tarnbeck-schedule-20261121T020000Z", "scheduled_at": AT.replace(day=21)})
    return Status(
        project=PROJECT,
        champion=run.challenger,
        since=AT,
        lineage=Lineage("adapter-9a0364b9e99bb480", run.dataset.id, run.dataset.sources, SNAPSHOT, documents),
        cycles=(
            PastCycle(quiet, None, sample_drift(drifted=False), None),
            PastCycle(run.cycle.model_copy(update={"decision_id": run.decision.id}), run.decision, run.drift, run.retention),
        ),
        holder=None,
        jobs=(),
    )


def without_extras(run: RunReport) -> RunReport:
    """The same cycle with every part that may be missing missing."""
    nothing = SynthesisReport(teacher="", candidates=0, accepted=0, rejected={}, samples=())
    dataset = run.dataset.model_copy(update={"synthesis": nothing, "decontaminated": {}})
    decision = run.decision.model_copy(update={"slices": ()})
    return replace(run, losses=(), dataset=dataset, decision=decision, retired=(), drift=None)


def sample_toml(project: str, more: str = "") -> str:
    """The smallest configuration that is accepted, and `more` sections."""
    return f"""
project = "{project}"
[corpus]
sources = [{{location = "docs"}}]
[drift]
reference = "traffic.jsonl"
current = "traffic.jsonl"
{more}
"""
