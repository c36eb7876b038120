"""An optimiser that trains on what teachers answer and keeps the metric's scores.

dspy.BootstrapFinetune throws the scores away, writes training rows with the teacher's instructions and demonstrations, and turns
an error of the metric into a row that cannot be unpacked. Distil writes the rows with the student's own prompt, so that the
student learns to answer without the teacher's demonstrations (context distillation: Snell et al., 2022), hands all answers over
with their scores, and raises.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dspy  # noqa: TID253 - this package is DSPy's side of csift
from dspy.clients.utils_finetune import TrainDataFormat  # noqa: TID253
from dspy.teleprompt.teleprompt import Teleprompter  # noqa: TID253

from csift.exceptions import CsiftError, TrainingError
from csift.finetuning.provider import TrainableLM
from csift.interfaces import Progress, no_progress
from csift.schemas import Failure

Metric = Callable[[Any, Any, Any], float]


class Distil(Teleprompter):
    """`metric(example, prediction, trace)` gives a bool or a number; an answer that gets more than 0 is one to give."""

    def __init__(self, metric: Metric, train_kwargs: dict[str, Any] | None = None, progress: Progress = no_progress) -> None:
        self.metric = metric
        self.train_kwargs = train_kwargs or {}
        self.progress = progress

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[dspy.Example],
        teacher: dspy.Module | Sequence[dspy.Module] | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """The student with trained models in its predictors; its prompts stay as they are.

        Teachers are programs with the student's predictors, each with a model; without one the student teaches itself. With the
        student among several teachers, methods that learn from worse answers learn from the student's own.

        Raises:
            TrainingError: the predictors have not one TrainableLM, a teacher has other predictors, every answer of a teacher
                failed, the metric raised, or as TrainingProvider.finetune.
            CsiftError: as LanguageModel.map.
        """
        lm = _one_model(student)
        teachers = [teacher] if isinstance(teacher, dspy.Module) else list(teacher or [student])
        groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for one in teachers:
            for place, row in self._rows(lm, student, one, trainset):
                groups.setdefault(place, []).append(row)
        data = [{"batch_id": None, "group": groups[place]} for place in sorted(groups)]
        tuned = lm.finetune(data, TrainDataFormat.GRPO_CHAT, self.train_kwargs).result()
        student.set_lm(tuned)
        student._compiled = True
        return student

    def _rows(
        self, lm: TrainableLM, student: dspy.Module, teacher: dspy.Module, trainset: Sequence[dspy.Example]
    ) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        """((example, step), a member of DSPy's GRPOGroup)."""
        own = dict(student.named_predictors())
        names = {id(predictor): name for name, predictor in teacher.named_predictors()}
        if set(own) != set(names.values()):
            raise TrainingError(
                f"a teacher has the predictors {sorted(names.values())}, and the student {sorted(own)}; make them alike"
            )
        traced = lm.batched.map(lambda example: self._trace(teacher, example), trainset, self.progress, "traces")
        failed = [one for one in traced if isinstance(one, Failure)]
        if failed and len(failed) == len(traced):
            raise TrainingError(
                f"a teacher answers none of {len(traced)} examples: {failed[0].message}; correct its program or model"
            )
        for number, one in enumerate(traced):
            if isinstance(one, Failure):
                continue
            trace, score = one
            for step, (predictor, inputs, outputs) in enumerate(trace):
                asked = own[names[id(predictor)]]
                prompt = lm.format.format(asked.signature, asked.demos, inputs)
                answer = lm.format.format_assistant_message_content(asked.signature, outputs)
                completion = {"role": "assistant", "content": answer}
                yield (number, step), {"messages": prompt, "completion": completion, "reward": score}

    def _trace(self, teacher: dspy.Module, example: dspy.Example) -> tuple[list[Any], float]:
        with dspy.context(trace=[]):
            prediction = teacher(**example.inputs())
            trace = list(dspy.settings.trace)
            try:
                return trace, float(self.metric(example, prediction, trace))
            except CsiftError:
                raise
            except Exception as error:
                raise TrainingError(
                    f"the metric raises {error!r} for {str(example.inputs().toDict())[:200]}; correct it"
                ) from error


def _one_model(student: dspy.Module) -> TrainableLM:
    models = {id(predictor.lm): predictor.lm for predictor in student.predictors()}
    lm = next(iter(models.values()), None)
    if len(models) != 1 or not isinstance(lm, TrainableLM):
        raise TrainingError("the student's predictors need one model of csift.finetuning.trainable(); call student.set_lm(lm)")
    return lm
