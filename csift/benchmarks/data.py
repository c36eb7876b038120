"""What the adapters of the benchmark learn from: people's training questions, cleaned of everything that would leak a held-out
one, with the chunks that are retrieved for them; text; and the mistakes that a model makes on them itself.

They are no DatasetVersion: earlier versions play no part in them, and they none in later ones.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from csift.config import DatasetConfig
from csift.dataset import clean, from_labels, with_contexts
from csift.dataset.cleaning import without_leaks
from csift.firewall import Firewall, Protected
from csift.hashing import content_id
from csift.interfaces import Embedder, Judge, Messages, Progress, Retriever, no_progress
from csift.llm import LanguageModel
from csift.prompts import answer_prompt
from csift.rag import refuse_held_out
from csift.schemas import Chunk, EvalSet, Example, Failure, Label, PreferencePair
from csift.synthesis import against_gold, sample_answers
from csift.training import PreferenceRow, PromptRow, TextRow, TrainingData, TrainingRow, unpaired

VERSION = 1  # of what the rows are made by; part of the adapters' ids


@dataclass(frozen=True)
class MethodData:
    """Training rows with the chunks beside them, the passages for continued pre-training, and the id of both together."""

    id: str
    rows: tuple[Example, ...]
    passages: tuple[Chunk, ...]
    texts: Mapping[str, str]

    def training(self, pairs: Sequence[PreferencePair] = ()) -> TrainingData:
        """As csift.training takes it; preference pairs count as ratings for kto."""
        prompts = [(row, self._prompt(row)) for row in self.rows]
        preferences = [PreferenceRow(self._prompt(pair), pair.chosen, pair.rejected, pair.id) for pair in pairs]
        return TrainingData(
            texts=[TextRow(chunk.text, chunk.id) for chunk in self.passages],
            pairs=[TrainingRow(prompt, row.answer, row.id) for row, prompt in prompts],
            preferences=preferences,
            ratings=unpaired(preferences),
            prompts=[PromptRow(prompt, row.answer, row.id) for row, prompt in prompts],
        )

    def _prompt(self, row: Example | PreferencePair) -> Messages:
        return answer_prompt(row.question, [self.texts[id_] for id_ in row.context_chunk_ids])


def choose_people(labels: Sequence[Label], people: int | float | None, seed: int) -> tuple[Label, ...]:
    """All labels, so many of them, or that share; a smaller draw is part of every larger one."""
    drawn = sorted(labels, key=lambda label: content_id("draw", [seed, label.id]))
    if people is None:
        return tuple(labels)
    return tuple(drawn[: people if isinstance(people, int) else round(people * len(drawn))])


def teach(
    labels: Sequence[Label],
    synthetic: Sequence[Example],
    held_out: Sequence[Label],
    evalsets: Sequence[EvalSet],
    chunks: Sequence[Chunk],
    trainable: Collection[str],
    passages: Sequence[Chunk],
    retriever: Retriever,
    k: int,
    embedder: Embedder,
    config: DatasetConfig,
    judge_id: str,
) -> MethodData:
    """Rows of the train split alone, decontaminated against `held_out`, shown with chunks of `trainable` documents alone.

    Args:
        chunks: the whole corpus.
        passages: what continued pre-training reads; none where there is no such stage.
        judge_id: who says which of a model's own answers are wrong; part of the id.

    Raises:
        LabelError: a label belongs to a set that is judged on.
    """
    refuse_held_out(labels, *evalsets)
    protected = [Protected(row.question, row.answer) for row in from_labels(held_out)]
    own = [chunk for chunk in chunks if chunk.document_id in trainable]
    written = [row.model_copy(update={"gold_chunk_ids": (), "context_chunk_ids": ()}) for row in synthetic]
    firewall = Firewall(protected, embedder)
    kept, _ = clean([*from_labels(labels), *written], firewall, embedder, config)
    # A row that teaches the refusal now may be one of the held-out questions that have no answer.
    rows = tuple(without_leaks(with_contexts(kept, retriever, own, k, config), firewall)[0])
    identity = [VERSION, [row.id for row in rows], [chunk.id for chunk in passages], judge_id]
    return MethodData(
        id=content_id("benchmark-data", identity),
        rows=rows,
        passages=tuple(passages),
        texts={chunk.id: chunk.text for chunk in own},
    )


def own_mistakes(
    model: LanguageModel, judge: Judge, data: MethodData, limit: int, progress: Progress = no_progress
) -> tuple[PreferencePair, ...]:
    """The right answer over each different wrong one that the model gives to the first `limit` rows, greedy and sampled."""
    chunks = {id_: Chunk(id=id_, document_id="", ordinal=0, text=text) for id_, text in data.texts.items()}
    sampled = sample_answers(model, data.rows[:limit], chunks, progress)
    return against_gold(judge, [entry for entry in sampled if not isinstance(entry, Failure)]).pairs
