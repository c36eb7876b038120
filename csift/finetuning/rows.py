"""What DSPy hands over for training → csift's training rows.

DSPy has three formats (dspy.clients.utils_finetune.TrainDataFormat). `chat` rows are answers that the metric kept, without their
scores. `grpo_chat` rows are groups of answers with rewards. `completion` rows are no chats, and csift's models take chats only.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csift.exceptions import TrainingError
from csift.hashing import content_id
from csift.interfaces import Messages
from csift.schemas import Method
from csift.textmatch import normalise
from csift.training import PreferenceRow, PromptRow, RatedRow, TrainingData, TrainingRow

CHAT, GROUPS = "chat", "grpo_chat"
KEPT = 1.0  # reward of an answer that the metric kept
FROM_WORSE: frozenset[Method] = frozenset({"dpo", "orpo", "reward", "kto"})  # learn from worse answers too


@dataclass(frozen=True)
class Answers:
    """The answers to one prompt with their rewards; one above 0 is an answer to give, as for dspy.BootstrapFinetune."""

    prompt: Messages
    rewards: Mapping[str, float]

    @property
    def good(self) -> list[str]:
        """Those to give, the best first."""
        return sorted((text for text, reward in self.rewards.items() if reward > 0), key=lambda text: -self.rewards[text])

    def against(self, own: str) -> "Answers":
        """With the model's own answer as one not to give, unless it says the same as another.

        Pairs of this kind are those of self-play fine-tuning (SPIN: Chen et al., ICML 2024).
        """
        if normalise(own) in {normalise(text) for text in self.rewards}:
            return self
        return Answers(self.prompt, {**self.rewards, own: 0.0})


def read(data: Sequence[Mapping[str, Any]], format_: str) -> list[Answers]:
    """DSPy's rows by prompt, in order of first appearance; an answer that is there twice counts with its greatest reward.

    Raises:
        TrainingError: there are none, the format is not one of chats, or a row is not of its format.
    """
    if format_ not in (CHAT, GROUPS):
        raise TrainingError(
            f"csift's models are trained on chats, not on rows of format {format_!r}; use an adapter that makes chats"
        )
    if not data:
        raise TrainingError(
            "nothing to train on: no answer of the teacher was kept; look at what the metric says of them, or add examples"
        )
    prompts: dict[str, tuple[Messages, dict[str, float]]] = {}
    for number, row in enumerate(data):
        try:
            for prompt, answer, reward in _chat(row) if format_ == CHAT else _group(row):
                rewards = prompts.setdefault(json.dumps(prompt), (prompt, {}))[1]
                rewards[answer] = max(reward, rewards.get(answer, reward))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"training row {number} is not as DSPy's format {format_} has it ({error!r}); rows are chats of text only"
            ) from None
    return [Answers(prompt, rewards) for prompt, rewards in prompts.values()]


def _chat(row: Mapping[str, Any]) -> Iterator[tuple[Messages, str, float]]:
    *prompt, answer = _messages(row["messages"])
    yield prompt, _answer(answer), KEPT


def _group(row: Mapping[str, Any]) -> Iterator[tuple[Messages, str, float]]:
    for one in row["group"]:
        yield _messages(one["messages"]), _answer(*_messages([one["completion"]])), float(one["reward"])


def _messages(value: Any) -> list[dict[str, str]]:
    messages = [{"role": message["role"], "content": message["content"]} for message in value]
    if not all(isinstance(text, str) for message in messages for text in message.values()):
        raise TypeError("a message holds something else than text")
    return messages


def _answer(message: Mapping[str, str]) -> str:
    if message["role"] != "assistant":
        raise ValueError("the last message is not the assistant's")
    return message["content"]


def dataset_id(answers: Sequence[Answers]) -> str:
    """The content hash of all rows in their order, which training follows."""
    return content_id("traces", [[list(one.prompt), dict(one.rewards)] for one in answers])


def training_data(answers: Sequence[Answers], methods: Sequence[Method]) -> TrainingData:
    """Rows for the stages.

    sft: each good answer; ppo, grpo, rloo: the prompts, whose right answer is the best one; dpo, orpo, reward: the best answer
    against each that got less; kto: all answers.

    Raises:
        TrainingError: a stage has nothing to learn from.
    """
    pairs: list[TrainingRow] = []
    preferences: list[PreferenceRow] = []
    ratings: list[RatedRow] = []
    prompts: list[PromptRow] = []
    for number, one in enumerate(answers):
        id_ = f"trace {number}"
        pairs += [TrainingRow(one.prompt, text, id_) for text in one.good]
        ratings += [RatedRow(one.prompt, text, reward > 0, id_) for text, reward in one.rewards.items()]
        for best in one.good[:1]:
            prompts.append(PromptRow(one.prompt, best, id_))
            worse = [text for text, reward in one.rewards.items() if reward < one.rewards[best]]
            preferences += [PreferenceRow(one.prompt, best, text, id_) for text in worse]
    if len({row.desirable for row in ratings}) < 2:
        ratings = []  # kto compares the two kinds
    data = TrainingData(pairs=pairs, preferences=preferences, ratings=ratings, prompts=prompts)
    for method in methods:
        _require(method, data)
    return data


def _require(method: Method, data: TrainingData) -> None:
    """All stages are checked before the first is trained."""
    if method == "cpt":
        raise TrainingError(
            "cpt learns from the text of documents, and DSPy's traces hold none; drop the stage, or train by `csift up`"
        )
    if method in FROM_WORSE and not (data.ratings if method == "kto" else data.preferences):
        raise TrainingError(
            f"{method} learns from better and worse answers, and no two answers differ in what the metric says of them; "
            "give csift.finetuning.Distil several teachers, among them the student"
        )
    if method not in FROM_WORSE and not (data.pairs if method == "sft" else data.prompts):
        raise TrainingError(f"{method} has nothing to learn from: the metric says of no answer that it is one to give")
