"""The rounds of synthesis put together. The flow runs the same steps as tasks, one a document; here they run in this process."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from csift.config import SynthesisConfig
from csift.hashing import content_id
from csift.interfaces import Embedder, Progress, no_progress
from csift.schemas import Chunk, Label, Record, Rejection
from csift.synthesis.drafts import Candidate, Drafts, SynthesisResult
from csift.synthesis.screening import screen
from csift.synthesis.signatures import prompt_hashes
from csift.synthesis.writers import Writer

SAMPLES_PER_REASON = 5


class Harvest(Record):
    """What the rounds so far have brought."""

    written: int = 0
    accepted: tuple[Candidate, ...] = ()
    rejections: tuple[Rejection, ...] = ()


def gather(
    harvest: Harvest,
    drafts: Sequence[Drafts],
    labels: Sequence[Label],
    chunks: Sequence[Chunk],
    embedder: Embedder,
    config: SynthesisConfig,
    near_duplicate: float,
) -> Harvest:
    """The harvest with a round's drafts, screened against people's questions, earlier rounds and each other."""
    present = [(label.question, label.document_id) for label in labels]
    present += [(candidate.question, candidate.document_id) for candidate in harvest.accepted]
    fresh = [candidate for draft in drafts for candidate in draft.candidates]
    kept, refused = screen(
        fresh, present, chunks, embedder, near_duplicate=near_duplicate, max_topic_share=config.max_topic_share
    )
    return Harvest(
        written=harvest.written + sum(draft.written for draft in drafts),
        accepted=(*harvest.accepted, *kept),
        rejections=(*harvest.rejections, *(rejection for draft in drafts for rejection in draft.rejections), *refused),
    )


def result(harvest: Harvest, teacher: str) -> SynthesisResult:
    """The accepted candidates as training examples; each carries the hash of all the prompts that it passed through."""
    hashes = prompt_hashes()
    return SynthesisResult(
        teacher=teacher,
        examples=tuple(
            candidate.example(teacher, content_id("prompts", [hashes[candidate.step], hashes["read"], hashes["rate"]]))
            for candidate in harvest.accepted
        ),
        candidates=harvest.written,
        rejections=harvest.rejections,
    )


def count_reasons(rejections: Sequence[Rejection]) -> dict[str, int]:
    """Rejections by reason, the most frequent first."""
    return dict(Counter(rejection.reason for rejection in rejections).most_common())


def sample_rejections(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """The first few of each reason, to look at."""
    seen: Counter[str] = Counter()
    kept = []
    for rejection in rejections:
        seen[rejection.reason] += 1
        if seen[rejection.reason] <= SAMPLES_PER_REASON:
            kept.append(rejection)
    return tuple(kept)


def synthesise(
    writer: Writer,
    chunks: Sequence[Chunk],
    labels: Sequence[Label],
    embedder: Embedder,
    config: SynthesisConfig,
    near_duplicate: float,
    progress: Progress = no_progress,
) -> SynthesisResult:
    """All rounds, in this process.

    `chunks` are those of documents that may be trained on, `labels` people's training questions about them.

    Raises:
        TeacherError, BudgetExhausted: as `LanguageModel.map`; every answer until then is in the ledger.
    """
    by_id = {chunk.id: chunk for chunk in chunks}
    harvest = gather(Harvest(), [writer.reword(labels, chunks, config)], labels, chunks, embedder, config, near_duplicate)
    for number in range(config.rounds):
        assignments = writer.deal(chunks, config, number, labels, harvest.accepted)
        drafts = []
        with ThreadPoolExecutor(max(1, min(writer.at_once, len(assignments)))) as pool:
            for draft in pool.map(lambda assignment: writer.write(assignment, by_id), assignments):
                drafts.append(draft)
                progress("synthesise", harvest.written + sum(d.written for d in drafts), config.candidates)
        harvest = gather(harvest, drafts, labels, chunks, embedder, config, near_duplicate)
    return result(harvest, writer.id)
