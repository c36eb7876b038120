"""A corpus divided into partitions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from csift.backfill.request import BackfillRequest
from csift.backfill.windows import date_in, window_of
from csift.config import LoopConfig
from csift.exceptions import CorpusError
from csift.hashing import content_id
from csift.llm import is_served
from csift.schemas import BackfillPlan, Chunk, CorpusSnapshot, DocumentRef, Partition
from csift.synthesis import prompt_hashes

WHOLE = "all"  # the partition of a source without a name


def divide(
    config: LoopConfig,
    request: BackfillRequest,
    snapshot: CorpusSnapshot,
    chunks: Sequence[Chunk],
    changed: Mapping[str, date],
) -> BackfillPlan:
    """The partitions of a snapshot: a window of time each, by the documents' dates, or a source each.

    Which partition a document falls into depends on its date or source alone, and a partition on its own documents alone: one
    that changes, comes or leaves makes another partition of its own window only. A window is its whole stretch of the calendar,
    however little of it the range asks for.

    Args:
        chunks: of the documents that may be trained on.
        changed: document id → the day of its last change, which counts where its id names no day.

    Raises:
        CorpusError: no document lies in the range, or none of those may be trained on.
    """
    undated: list[str] = []
    placed: dict[str, list[DocumentRef]] = defaultdict(list)
    outside: list[date] = []
    for ref in snapshot.documents:
        if request.windows is None:
            placed[ref.source or WHOLE].append(ref)
        elif (day := date_in(ref.document_id) or changed.get(ref.document_id)) is None:
            undated.append(ref.document_id)
        elif (request.since and day < request.since) or (request.until and day > request.until):
            outside.append(day)
        else:
            placed[window_of(day, request.windows).name].append(ref)
    if not placed:
        raise CorpusError(_nothing(request, outside, undated))
    pieces: dict[str, list[str]] = defaultdict(list)
    for chunk in chunks:
        pieces[chunk.document_id].append(chunk.id)
    told = _told(config)
    partitions, idle = [], []
    for name, documents in sorted(placed.items()):
        taught = tuple(ref for ref in documents if ref.document_id in pieces)
        if not taught:
            idle.append(name)
            continue
        content = [(ref.document_id, ref.sha256, pieces[ref.document_id]) for ref in taught]
        id_ = content_id("partition", [config.project, name, content, told])
        partitions.append(Partition(id=id_, name=name, documents=taught, others=len(documents) - len(taught)))
    if not partitions:
        raise CorpusError(
            f"none of the {sum(map(len, placed.values()))} documents {request.range} may be trained on: they are for evaluation "
            "or for retrieval only; widen the range"
        )
    identity = [snapshot.id, [partition.id for partition in partitions], idle, undated, len(outside)]
    return BackfillPlan(
        id=content_id("backfill", identity),
        snapshot_id=snapshot.id,
        partitions=tuple(partitions),
        idle=tuple(idle),
        undated=tuple(undated),
        outside=len(outside),
        at_once=request.parallel if is_served(config.teacher.model) else 1,  # what a local model answers depends on its batches
    )


def _told(config: LoopConfig) -> object:
    """What of the configuration decides about what a teacher writes. Labels do not: what was taught stays when they change."""
    teacher = {"model", "max_tokens", "temperature"} if is_served(config.teacher.model) else {"model", "tune_steps"}
    return [
        config.teacher.model_dump(mode="json", include=teacher),
        config.synthesis.model_dump(mode="json", exclude={"preferences"}),
        config.dataset.near_duplicate,
        prompt_hashes(),
    ]


def _nothing(request: BackfillRequest, outside: Sequence[date], undated: Sequence[str]) -> str:
    told = f"no document is {'dated ' if outside else ''}{request.range}"
    if outside:
        return f"{told}: those of the corpus are dated {min(outside)} to {max(outside)}; correct the range"
    return f"{told}: {len(undated)} have no date, such as {undated[0]}; put one into their paths, as 2024-03/"
