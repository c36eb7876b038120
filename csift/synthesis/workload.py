"""What a teacher would be asked at most, without asking it."""

from collections.abc import Sequence
from dataclasses import dataclass

from csift.config import SynthesisConfig
from csift.schemas import Chunk, Label
from csift.synthesis.rounds import deal_spans, deal_windows, draw_labels

CHECKS = 4  # calls to a served teacher about a written question: grounding, rating, recall, reading
READ_AGAIN = 1  # calls to a local one


@dataclass(frozen=True)
class Workload:
    """Questions that are written, and the calls that it takes to write and check them if none is refused early."""

    candidates: int
    calls: int


def workload(chunks: Sequence[Chunk], labels: Sequence[Label], config: SynthesisConfig, served: bool) -> Workload:
    """What `synthesise` asks about these chunks at most. Which questions were accepted decides what is asked, not how much."""
    rounds = range(config.rounds)
    reworded = round(config.paraphrases * config.candidates)
    if not served:  # asks for each span and reads it again; a person's question is only read
        written = sum(assignment.count for number in rounds for assignment in deal_spans(chunks, config, number))
        return Workload(written + reworded, written * (1 + READ_AGAIN) + reworded)
    dealt = [assignment for number in rounds for assignment in deal_windows(chunks, config, number, labels, ())]
    reworded = len(draw_labels(labels, chunks, reworded, config.seed))
    written = sum(assignment.count for assignment in dealt)
    return Workload(written + reworded, len(dealt) + reworded + (written + reworded) * CHECKS)
