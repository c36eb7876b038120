"""DSPy's own optimisers on the answering program, given training questions only.

BootstrapFewShot (Khattab et al., DSPy, ICLR 2024) shows the program's own right answers and labelled ones. MIPROv2 (Opsahl-Ong et
al., EMNLP 2024) and GEPA (Agrawal et al., 2025) also write instructions, which takes an able prompt model.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Self, get_args

from csift.exceptions import ConfigError, CsiftError, LabelError, TeacherError
from csift.hashing import content_id
from csift.interfaces import Judge, Progress, Retriever, no_progress
from csift.llm import LanguageModel
from csift.rag.compiled import Compiled
from csift.rag.guard import refuse_held_out
from csift.rag.programs import rag_class, standard_program_hash
from csift.rag.running import quiet
from csift.schemas import EvalSet, Failure, JudgeItem, Label
from csift.textmatch import REFUSAL

Optimiser = Literal["bootstrap", "mipro", "gepa"]
OPTIMISERS: tuple[Optimiser, ...] = get_args(Optimiser)
WRITES = ("mipro", "gepa")  # need a prompt model
FEWEST = 2  # training questions that any optimiser can work with


@dataclass(frozen=True)
class Task:
    """What a program is compiled for. `evalsets` are guarded against; `prompt_model` writes instructions (mipro, gepa).

    `bootstrapped` and `labelled` are DSPy's max_bootstrapped_demos and max_labeled_demos; the latter counts all demonstrations.
    A share of failed judgements above `max_failure_share` makes the result void.
    """

    retriever: Retriever
    k: int
    model: LanguageModel
    judge: Judge
    labels: Sequence[Label]
    evalsets: Sequence[EvalSet]
    prompt_model: LanguageModel | None = None
    bootstrapped: int = 4
    labelled: int = 16
    threads: int = 1
    seed: int = 0
    max_failure_share: float = 0.05


def compile_program(optimiser: Optimiser, task: Task, progress: Progress = no_progress) -> Compiled:
    """The standard program as the optimiser leaves it. Calls to models are in the ledger: compiled again, nothing is asked again.

    Raises:
        LabelError: a label belongs to a set that is judged on, or there are fewer than two.
        ConfigError: mipro or gepa without a prompt model.
        TeacherError: more judgements failed than may.
        CsiftError: what models and retriever raise.
    """
    import dspy

    refuse_held_out(task.labels, *task.evalsets)
    if len(task.labels) < FEWEST:
        raise LabelError(f"{len(task.labels)} training questions are too few to compile a program on; label more")
    if optimiser in WRITES and task.prompt_model is None:
        raise ConfigError(
            f"{optimiser} needs a model that writes instructions; name a served one in benchmark.prompt_model (bedrock/... or "
            "openai/...), or use bootstrap"
        )
    trouble = _Trouble()
    metric = Metric(task.judge, trouble, progress, len(task.labels))
    trainset = [
        dspy.Example(question=label.question, answer=REFUSAL if label.answer is None else label.answer).with_inputs("question")
        for label in sorted(task.labels, key=lambda label: content_id("order", [task.seed, label.id]))
    ]
    student = _watched_class()(trouble, task.retriever, task.k, standard_program_hash())
    with quiet(), dspy.context(lm=task.model.lm, adapter=_adapter(task), disable_history=True, max_errors=len(trainset)):
        try:
            program = _MADE_BY[optimiser](task, metric, student, trainset)
        finally:
            trouble.tell()
    metric.check(task.max_failure_share)
    return Compiled.of(_name(optimiser, task), program)


class _Trouble:
    """What csift's own parts raised. Optimisers take an exception for a wrong answer and go on; an empty budget or a lost
    database is none. Shared by all copies of a program."""

    def __init__(self) -> None:
        self.error: CsiftError | None = None

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self

    def note(self, error: BaseException | None) -> None:
        """Keeps the first of csift's errors, also from within DSPy's wrapping."""
        while error is not None and self.error is None:
            self.error = error if isinstance(error, CsiftError) else None
            error = error.__cause__

    def tell(self) -> None:
        """Raises what was kept."""
        if self.error is not None:
            raise self.error


@lru_cache(maxsize=1)
def _watched_class() -> Any:
    class Watched(rag_class()):  # type: ignore[misc]
        """The program while it is compiled: after an error of csift's it asks nothing more."""

        def __init__(self, trouble: _Trouble, *args: Any) -> None:
            super().__init__(*args)
            self.trouble = trouble

        def forward(self, question: str) -> Any:
            self.trouble.tell()
            try:
                return super().forward(question)
            except Exception as error:
                self.trouble.note(error)
                raise

    return Watched


def _bootstrap(task: Task, metric: "Metric", student: Any, trainset: list[Any]) -> Any:
    from dspy.teleprompt import BootstrapFewShot

    made = BootstrapFewShot(metric=metric, max_bootstrapped_demos=task.bootstrapped, max_labeled_demos=task.labelled)
    return made.compile(student, trainset=trainset)


def _mipro(task: Task, metric: "Metric", student: Any, trainset: list[Any]) -> Any:
    from dspy.teleprompt import MIPROv2

    made = MIPROv2(
        metric=metric,
        prompt_model=task.prompt_model.lm if task.prompt_model else None,
        task_model=task.model.lm,
        max_bootstrapped_demos=task.bootstrapped,
        max_labeled_demos=task.labelled,
        auto="light",
        num_threads=task.threads,
        seed=task.seed,
    )
    return made.compile(student, trainset=trainset)


def _gepa(task: Task, metric: "Metric", student: Any, trainset: list[Any]) -> Any:
    from dspy.teleprompt import GEPA

    made = GEPA(
        metric=metric.with_feedback,
        reflection_lm=task.prompt_model.lm if task.prompt_model else None,
        auto="light",
        num_threads=task.threads,
        seed=task.seed,
    )
    half = len(trainset) // 2
    return made.compile(student, trainset=trainset[:half], valset=trainset[half:])


_MADE_BY: dict[Optimiser, Callable[[Task, "Metric", Any, list[Any]], Any]] = {
    "bootstrap": _bootstrap,
    "mipro": _mipro,
    "gepa": _gepa,
}


def _name(optimiser: Optimiser, task: Task) -> str:
    from importlib.metadata import version

    shown = "" if optimiser == "gepa" else f", {task.bootstrapped}+{task.labelled} demonstrations"
    writer = f", instructions by {task.prompt_model.id}" if task.prompt_model and optimiser in WRITES else ""
    return (
        f"{optimiser} (dspy-ai {version('dspy-ai')}){shown}, answers of {task.model.id} judged by {task.judge.id}{writer}, "
        f"seed {task.seed}"
    )


@dataclass
class Metric:
    """The judge's verdict as a DSPy metric. A judgement that fails raises, so that it is no score, and is counted."""

    judge: Judge
    trouble: "_Trouble"
    progress: Progress = no_progress
    total: int = 0
    judged: int = 0
    failed: int = 0
    last: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        """Whether the judge calls the answer correct."""
        return self._score(example, prediction).correct

    def with_feedback(self, gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None) -> Any:
        """GEPA's metric: the score with the judge's reason, from which the prompt model learns."""
        import dspy

        score = self._score(gold, pred)
        return dspy.Prediction(
            score=float(score.correct), feedback=f"Right answer: {gold.answer}. Given: {pred.answer}. {score.reason}"
        )

    def check(self, max_failure_share: float) -> None:
        """Raises TeacherError when more judgements failed than may: what was selected by the others may be no better."""
        asked = self.judged + self.failed
        if asked and self.failed > max_failure_share * asked:
            raise TeacherError(
                f"{self.failed} of {asked} judgements failed while the program was compiled ({self.last}); mend the judge "
                f"{self.judge.id} and run again"
            )

    def _score(self, example: Any, prediction: Any) -> Any:
        gold = None if example.answer == REFUSAL else example.answer
        item = JudgeItem(question=example.question, gold=gold, answer=str(prediction.answer), contexts=tuple(prediction.contexts))
        try:
            (verdict,) = self.judge.judge([item])
        except CsiftError as error:
            self.trouble.note(error)
            raise
        with self.lock:
            if isinstance(verdict, Failure):
                self.failed, self.last = self.failed + 1, verdict.message
                raise JudgementFailed(verdict)
            self.judged += 1
            self.progress("compile", min(self.judged, self.total), self.total)
        return verdict


class JudgementFailed(Exception):
    """Inside an optimiser: an answer of which nobody can say whether it is right. Not an error of csift: it is counted."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")


def _adapter(task: Task) -> Any:
    """Each model is asked in its own format, whichever of the two an optimiser calls."""
    if task.prompt_model is None:
        return task.model.adapter
    return _by_model_class()(task.model, task.prompt_model)


def _by_model_class() -> Any:
    import dspy

    class ByModel(dspy.Adapter):
        def __init__(self, model: LanguageModel, prompt_model: LanguageModel) -> None:
            super().__init__()
            self.adapters = {prompt_model.lm.model: prompt_model.adapter, model.lm.model: model.adapter}

        def __call__(self, lm: Any, *args: Any, **kwargs: Any) -> Any:
            return self.adapters[lm.model](lm, *args, **kwargs)

        def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
            return dspy.ChatAdapter().format(signature, demos, inputs)

        def parse(self, signature: Any, completion: str) -> Any:
            return dspy.ChatAdapter().parse(signature, completion)

    return ByModel
