"""The order in which rows are trained on: drawn anew each epoch from seed and epoch alone, rows of like length together.

transformers' own grouping by length draws from torch's global state, so a run that goes on in the middle of an epoch would
see another
order than one that was never stopped.
"""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

GROUP = 8  # batches that are sorted together: less padding, and still a fresh mix in every epoch


def order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """Indices of all rows once, in batches of like length; the same arguments give the same order."""
    draw = random.Random(f"{seed} {epoch}")
    rows = list(range(len(lengths)))
    draw.shuffle(rows)
    span = batch_size * GROUP
    grouped = [
        index
        for start in range(0, len(rows), span)
        for index in sorted(rows[start : start + span], key=lambda row: (lengths[row], row))
    ]
    batches = [grouped[start : start + batch_size] for start in range(0, len(grouped), batch_size)]
    # The short batch at the end stays there: full ones must not straddle it.
    full, rest = (batches, []) if len(batches[-1]) == batch_size else (batches[:-1], batches[-1:])
    draw.shuffle(full)
    return [index for batch in [*full, *rest] for index in batch]


class ByLength(Sampler[int]):
    """`order` as a torch sampler that is told the epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(order(self.lengths, self.batch_size, self.seed, self.epoch))
