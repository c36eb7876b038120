"""dspy.Evaluate over a program whose model answers in batches.

dspy.Evaluate starts a thread a question and takes an exception for a score. Here its threads meet first, so that all their
questions go to the model in one `LanguageModel.map`; a question that failed is counted apart; what ends a run ends this one too.
"""

import io
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from csift.interfaces import Judge, Program
from csift.intervals import wilson
from csift.llm import LanguageModel
from csift.schemas import Failure, Interval, JudgeItem, Label, Score
from csift.textmatch import REFUSAL


def accuracy(program: Program, model: LanguageModel, judge: Judge, labels: Sequence[Label]) -> Interval:
    """The share of the questions that the program answers rightly, of those that were answered and judged.

    Raises:
        CsiftError: what model, retriever and judge raise.
    """
    import dspy

    if not labels:
        return wilson(0, 0)
    meeting = _Meeting(program, model, judge, labels)
    devset = [dspy.Example(place=place).with_inputs("place") for place in range(len(labels))]
    evaluate = dspy.Evaluate(
        devset=devset, metric=meeting.correct, num_threads=len(labels), max_errors=len(labels) + 1, display_progress=False
    )
    try:
        with quiet():
            evaluate(meeting)
    finally:
        meeting.end()
    verdicts = [score for score in meeting.scores if isinstance(score, Score)]
    return wilson(sum(score.correct for score in verdicts), len(verdicts))


class _Meeting:
    """The program as dspy.Evaluate calls it, once a place; the last to come asks for all, and has them judged."""

    def __init__(self, program: Program, model: LanguageModel, judge: Judge, labels: Sequence[Label]) -> None:
        self.scores: list[Score | Failure] = []
        self._program, self._model, self._judge, self._labels = program, model, judge, labels
        self._come: set[int] = set()
        self._lock, self._done = threading.Lock(), threading.Event()
        self._error: BaseException | None = None

    def __call__(self, place: int) -> Any:
        import dspy

        with self._lock:
            last = place not in self._come and len(self._come) == len(self._labels) - 1  # stragglers are sent twice
            self._come.add(place)
        if last:
            try:
                self.scores = self._judged()
            except BaseException as error:  # noqa: BLE001 - raised by `end`; dspy.Evaluate would make a score of it
                self._error = error
            self._done.set()
        self._done.wait()
        return dspy.Prediction(place=place)

    def correct(self, example: Any, prediction: Any) -> float:
        """The metric."""
        score = None if self._error else self.scores[prediction.place]
        return float(isinstance(score, Score) and score.correct)

    def end(self) -> None:
        """Lets waiting threads go, and raises what ended the run."""
        self._done.set()
        if self._error:
            raise self._error

    def _judged(self) -> list[Score | Failure]:
        outcomes = self._model.map(lambda label: self._program(question=label.question), self._labels)
        told = [(label, said) for label, said in zip(self._labels, outcomes, strict=True) if not isinstance(said, Failure)]
        verdicts = iter(
            self._judge.judge(
                [
                    JudgeItem(
                        question=label.question,
                        gold=None if label.answer in (None, REFUSAL) else label.answer,
                        answer=str(said.answer),
                        contexts=tuple(said.contexts),
                    )
                    for label, said in told
                ]
            )
        )
        return [said if isinstance(said, Failure) else next(verdicts) for said in outcomes]


@contextmanager
def quiet() -> Iterator[None]:
    """DSPy prints and logs; csift shows its own progress."""
    logger = logging.getLogger("dspy")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
