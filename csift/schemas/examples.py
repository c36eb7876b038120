"""Labels, examples, datasets, eval sets."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from csift.hashing import content_id
from csift.schemas.base import Record, Split, Style


class Label(Record):
    """A question written and answered by a person; `answer` is None when its document does not answer it."""

    id: str
    question: str
    answer: str | None
    document_id: str
    style: Style
    split: Split
    document_sha256: str


class RetiredLabel(Record):
    """A labelled question no longer used, because its document changed or left the corpus after it was labelled."""

    label_id: str
    document_id: str
    split: Split
    reason: Literal["changed", "gone"]


class LabelSet(Record):
    """All labelled questions of a project against one snapshot: those in use and those retired."""

    snapshot_id: str
    labels: tuple[Label, ...]
    retired: tuple[RetiredLabel, ...]

    def of_split(self, split: Split) -> tuple[Label, ...]:
        """Labels in use of one split, in order of their ids."""
        return tuple(label for label in self.labels if label.split == split)


class Example(Record):
    """A training row: question and answer with the chunks shown beside them; the gold ones hold the answer."""

    id: str
    question: str
    answer: str
    document_id: str
    style: Style
    gold_chunk_ids: tuple[str, ...]
    context_chunk_ids: tuple[str, ...]
    source: Literal["human", "synthetic", "feedback"]
    generator: str | None
    prompt_hash: str | None


class PreferencePair(Record):
    """Two answers to one question over the same chunks, ordered by preference; margin in (0, 1] says how clearly."""

    id: str
    question: str
    document_id: str
    context_chunk_ids: tuple[str, ...]
    chosen: str
    rejected: str
    source: Literal["ai", "human"]
    judged_by: str
    margin: float


class RatedAnswer(Record):
    """An answer of which `raters` people, or the critic (ai), said that it is one to give, or that it is not."""

    id: str
    question: str
    document_id: str
    context_chunk_ids: tuple[str, ...]
    answer: str
    desirable: bool
    raters: int
    source: Literal["ai", "human"] = "human"


class ScoredAnswer(Record):
    """An answer with how good `raters` people, or the critic (ai), find it: `score` from 0 (bad) to 1 (good)."""

    id: str
    question: str
    document_id: str
    context_chunk_ids: tuple[str, ...]
    answer: str
    score: float
    raters: int
    source: Literal["ai", "human"]


class HumanFeedback(Record):
    """What people's feedback teaches, and the critic's where people did not speak. Which document a question is about, and the
    chunks beside it, is found when a dataset is built; until then they are empty.

    `origins`: id of a row → ids of the feedback that it was made of; for the critic's rows, of the served answers.
    """

    examples: tuple[Example, ...] = ()
    preferences: tuple[PreferencePair, ...] = ()
    ratings: tuple[RatedAnswer, ...] = ()
    scores: tuple[ScoredAnswer, ...] = ()
    origins: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def rows(self) -> tuple[Example | PreferencePair | RatedAnswer | ScoredAnswer, ...]:
        """All of it."""
        return (*self.examples, *self.preferences, *self.ratings, *self.scores)


class Rejection(Record):
    """A candidate for training that was refused, with the filter that refused it."""

    reason: str
    question: str
    answer: str
    document_id: str
    detail: str


class SynthesisReport(Record):
    """What a teacher's candidates became; `rejected` counts by reason, `samples` keeps some of each to look at."""

    teacher: str
    candidates: int
    accepted: int
    rejected: dict[str, int]
    samples: tuple[Rejection, ...]


class DatasetVersion(Record):
    """A training set. Its id is a fingerprint of its examples, preference pairs, rated and scored answers and recipe.

    `example_ids` repeats an example as often as an epoch shows it; `replayed` of them stood in earlier versions. `documents`
    counts the documents of each split.
    """

    id: str
    snapshot_id: str
    evalset_id: str
    example_ids: tuple[str, ...]
    preference_ids: tuple[str, ...]
    rating_ids: tuple[str, ...]
    recipe: dict[str, str | int | float | None]
    sources: dict[str, int]
    replayed: int
    documents: dict[str, int]
    decontaminated: dict[str, int]
    synthesis: SynthesisReport
    score_ids: tuple[str, ...] = ()


class EvalItem(Record):
    """A frozen question, pinned to the hash of its source document. `guarded`: it stood in the eval set before this one."""

    id: str
    question: str
    answer: str | None
    document_id: str
    document_sha256: str
    style: Style
    guarded: bool


class EvalSet(Record):
    """Frozen human-written questions whose documents are never trained on. Sets that share questions are of one `life`, over
    which the gate's false-promotion rate holds; lives are counted from 1."""

    id: str
    project: str
    life: int
    items: tuple[EvalItem, ...]
    retired: tuple[RetiredLabel, ...]
    previous_id: str | None

    @staticmethod
    def id_of(project: str, items: Sequence[EvalItem]) -> str:
        """The id of a set with these items: a hash of all that is asked, but for what is guarded."""
        return content_id("evalset", [project, [item.model_dump(exclude={"guarded"}) for item in items]])
