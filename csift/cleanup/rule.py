"""What may go: a pure rule over what the store lists and what Postgres refers to.

Never collected: what a champion of any time or a decision refers to (adapters with the stages before them, datasets with their
teachers and data cards, drift pages), decisions, run reports, benchmarks and compiled programs, what is young, and whatever this
database does not know: another one may share the store.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from csift.schemas import StoredObject
from csift.storage import MANIFEST

HALF = timedelta(days=1)  # after which a write that has not ended was cut off
PARTS = {"adapters": 3, "checkpoints": 4}  # of an artifact's key; all else is single objects
TEMPORARY = re.compile(r"(.*/)?\.[^/]+\.\d+\.\d+")  # csift.storage.local, while it writes
ELSEWHERE = "dspy-"  # holders of csift.finetuning, whose adapters are named by programs that are saved anywhere


@dataclass(frozen=True)
class Trained:
    """An adapter by its row: the artifact's key, the adapters of its stages (itself the last), what it was trained on."""

    artifact: str
    stage_ids: tuple[str, ...]
    dataset_id: str


@dataclass(frozen=True)
class Answering:
    """What a System answers with: an adapter, or a custom model that was made from a dataset, or neither."""

    adapter_id: str | None
    dataset_id: str | None


@dataclass(frozen=True)
class Facts:
    """What Postgres knows, by ids.

    Attributes:
        champions: Systems that were ever champion.
        decided: Systems that a decision is about.
        newest: each project's newest dataset.
        teachers: dataset → the adapter of the teacher that wrote it, or None.
        in_work: datasets of jobs that are queued or worked on.
        quiet: drift reports in which nothing drifted, which no decided cycle and no alert refers to, and which are not the
            newest of their project.
    """

    systems: Mapping[str, Answering]
    adapters: Mapping[str, Trained]
    champions: frozenset[str]
    decided: frozenset[str]
    newest: frozenset[str]
    teachers: Mapping[str, str | None]
    in_work: frozenset[str]
    drift: frozenset[str]
    quiet: frozenset[str]

    @cached_property
    def datasets_in_use(self) -> frozenset[str]:
        """Datasets that a champion or a decision came from, that are worked on, or the newest."""
        of_adapters = {self.adapters[one.adapter_id].dataset_id for one in self._answering if one.adapter_id}
        of_models = {one.dataset_id for one in self._answering if one.dataset_id}
        return frozenset(of_adapters | of_models | self.newest | self.in_work)

    @cached_property
    def adapters_in_use(self) -> frozenset[str]:
        """Adapters that a champion, a decision or a job needs, their stages, and the teachers of the datasets in use."""
        answering = {one.adapter_id for one in self._answering if one.adapter_id}
        teaching = {teacher for id_ in self.datasets_in_use if (teacher := self.teachers.get(id_))}
        in_work = {id_ for id_, adapter in self.adapters.items() if adapter.dataset_id in self.in_work}
        named = frozenset(answering | teaching | in_work)
        return named.union(*(self.adapters[id_].stage_ids for id_ in named if id_ in self.adapters))

    @property
    def _answering(self) -> list[Answering]:
        return [self.systems[id_] for id_ in self.champions | self.decided]


@dataclass(frozen=True)
class Item:
    """An artifact, whole or half, or a single object; `modified` is the time of the newest of its files."""

    key: str
    size: int
    modified: datetime
    artifact: bool
    whole: bool


@dataclass(frozen=True)
class Collected:
    """What goes, how many bytes it has, and why."""

    key: str
    size: int
    why: str
    artifact: bool


class Fate(StrEnum):
    """Why an item stays."""

    KEPT = "kept"
    UNKNOWN = "unknown"


def items(objects: Sequence[StoredObject]) -> list[Item]:
    """The artifacts and single objects that a store's objects make up."""
    groups: dict[str, list[StoredObject]] = {}
    for one in objects:
        parts = one.key.split("/")
        length = PARTS.get(parts[0], len(parts))
        groups.setdefault("/".join(parts[: min(length, len(parts))]), []).append(one)
    return [
        Item(
            key=key,
            size=sum(one.size for one in group),
            modified=max(one.modified for one in group),
            artifact=group[0].key != key,
            whole=any(one.key == f"{key}/{MANIFEST}" for one in group),
        )
        for key, group in groups.items()
    ]


def judge(item: Item, facts: Facts, now: datetime, grace: timedelta) -> str | Fate:
    """Why an item is collected; or that it stays."""
    age, top = now - item.modified, item.key.partition("/")[0]
    if TEMPORARY.fullmatch(item.key) or (item.artifact and not item.whole) or top.startswith("doctor-"):
        return "a write that was cut off" if age > HALF else Fate.KEPT
    told = _RULES.get(top, _unknown)(item, facts)
    return told if isinstance(told, Fate) or age > grace else Fate.KEPT


def _unknown(item: Item, facts: Facts) -> Fate:
    return Fate.UNKNOWN


def _kept(item: Item, facts: Facts) -> Fate:
    return Fate.KEPT


def _adapter(item: Item, facts: Facts) -> str | Fate:
    _, id_, holder = item.key.split("/")
    if holder.startswith(ELSEWHERE):
        return Fate.KEPT
    if id_ not in facts.adapters:
        return Fate.UNKNOWN
    if facts.adapters[id_].artifact != item.key:
        return "a second copy of an adapter"
    return Fate.KEPT if id_ in facts.adapters_in_use else "an adapter that no champion and no decision refers to"


def _checkpoint(item: Item, facts: Facts) -> str | Fate:
    if item.key.split("/")[1] in facts.adapters:
        return "a checkpoint of a training that ended"
    return Fate.KEPT if facts.in_work else "a checkpoint of a training that nobody went on with"


def _drift(item: Item, facts: Facts) -> str | Fate:
    id_ = _stem(item)
    if id_ not in facts.drift:
        return Fate.UNKNOWN
    return "the page of a check without drift that no decision refers to" if id_ in facts.quiet else Fate.KEPT


def _data_card(item: Item, facts: Facts) -> str | Fate:
    id_ = _stem(item)
    if id_ not in facts.teachers:
        return Fate.UNKNOWN
    return Fate.KEPT if id_ in facts.datasets_in_use else "the data card of a dataset that nothing was decided on"


def _stem(item: Item) -> str:
    return item.key.rpartition("/")[2].removesuffix(".html")


_RULES = {
    "adapters": _adapter,
    "checkpoints": _checkpoint,
    "drift": _drift,
    "data-cards": _data_card,
    **dict.fromkeys(("decisions", "reports", "benchmarks", "programs"), _kept),
}
