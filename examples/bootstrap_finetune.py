"""Distils a DSPy program into a LoRA adapter, on the bundled catalogue: `python examples/bootstrap_finetune.py`.

The student is csift's RAG program on the bundled 135M model. The teacher is the same program on "a model" that knows the answers
people wrote; a bigger model goes into its place. dspy.BootstrapFinetune keeps the teacher's answers that the metric finds in the
retrieved excerpts and trains on them. Student and trained student then answer questions about products that were not trained on.
"""

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy  # noqa: TID253 - a script of its own
from dspy.lm15 import Message, Response, Usage  # noqa: TID253

from csift.config import TrainingConfig, load_config
from csift.corpus import ingest
from csift.db import database
from csift.finetuning import program_hash, trainable
from csift.judges import ReferenceJudge
from csift.labels import RawLabel, read_labels
from csift.rag import standard_program
from csift.retrieval import ChromaIndex, minilm
from csift.schemas import Failure, JudgeItem
from csift.settings import settings
from csift.textmatch import REFUSAL, normalise, token_f1

HELD_OUT = 40  # questions that are asked before and after
STEPS = 40


class KnownAnswers:
    """An engine of DSPy that looks the answer up: the question stands at the end of the prompt."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def complete(self, request: Any) -> Any:
        answer = self.answers[request.messages[-1].text.rpartition("Question: ")[2].strip()]
        return Response(id=None, model=request.model, message=Message.assistant(answer), finish_reason="stop", usage=Usage(0, 0))


def grounded(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Whether the excerpts hold the answer; taught others, a model learns to invent."""
    if prediction.answer == REFUSAL:
        return True
    return normalise(prediction.answer) in normalise(" ".join(prediction.contexts))


def show(stage: str, done: int, total: int, note: str = "") -> None:
    if stage == "train" and done % 10 == 0:
        print(f"  step {done} of {total}: {note}", flush=True)


def ask(program: Any, questions: Sequence[RawLabel], judge: ReferenceJudge) -> str:
    """Asks all questions in batches and tells how good the answers are."""
    answered = program.answer.lm.batched.map(lambda label: program(question=label.question), questions)
    answers = [f"({one.kind})" if isinstance(one, Failure) else one.answer for one in answered]
    scores = judge.judge(
        [
            JudgeItem(question=label.question, gold=label.answer, answer=answer, contexts=())
            for label, answer in zip(questions, answers, strict=True)
        ]
    )
    f1 = [token_f1(answer, label.answer or REFUSAL) for label, answer in zip(questions, answers, strict=True)]
    right = sum(not isinstance(score, Failure) and score.correct for score in scores)
    return f"{right} of {len(questions)} right, mean token F1 {sum(f1) / len(f1):.2f}, such as {answers[0]!r}"


def main() -> None:
    logging.getLogger("dspy").setLevel(logging.WARNING)
    began = time.monotonic()
    config = load_config(Path(__file__).parent / "catalogue.toml")
    told = settings()
    index = ChromaIndex(told.root / "chroma", "dspy-example", minilm(told.threads))
    ingest(database(), index, "dspy-example", config.corpus)
    labels = read_labels(config.corpus.questions)
    train = [label for label in labels if label.split == "train"]
    held_out = random.Random(0).sample([label for label in labels if label.split == "eval"], HELD_OUT)
    judge = ReferenceJudge(minilm(told.threads))

    lm = trainable(TrainingConfig(methods=("sft",), max_steps=STEPS), progress=show)
    student, teacher = (standard_program(index, config.retrieval.k) for _ in range(2))
    student.set_lm(lm)
    teacher.set_lm(
        dspy.LM("known/answers", engine=KnownAnswers({one.question: one.answer or REFUSAL for one in train}), cache=False)
    )
    print("first held-out question:", held_out[0].question, "->", held_out[0].answer)
    print("before:", ask(student, held_out, judge), flush=True)

    trainset = [dspy.Example(question=label.question, answer=label.answer).with_inputs("question") for label in train]
    with dspy.context(adapter=lm.format):
        tuned = dspy.BootstrapFinetune(metric=grounded, exclude_demos=True, num_threads=4).compile(
            student, trainset, teacher=teacher
        )
    print("after: ", ask(tuned, held_out, judge))

    file = told.root / "bootstrap_finetune.json"
    tuned.save(file)
    loaded = standard_program(index, config.retrieval.k)
    loaded.load(file, allow_unsafe_lm_state=True)
    print(f"{tuned.answer.lm.adapter_id} is named in {file}; loaded again: {program_hash(loaded) == program_hash(tuned)}")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
