"""How often an epoch shows the rows of each source."""

from collections.abc import Mapping, Sequence

from csift.hashing import sha256
from csift.schemas import Example


def mix(examples: Sequence[Example], weights: Mapping[str, float], seed: int) -> list[Example]:
    """Repeats or thins the rows of each source: weight 2 shows each row twice, 0.5 every second one, 1.5 every second one twice.

    Which rows are drawn depends on seed and row alone, so that another row more or less changes nothing about the others.
    """
    mixed = []
    for example in examples:
        whole, part = divmod(weights[example.source], 1)
        mixed += [example] * (int(whole) + (draw(seed, "mix", example.id) < part))
    return mixed


def draw(seed: int, purpose: str, id_: str) -> float:
    """A number in [0, 1) for a row, the same on every machine."""
    return int(sha256(f"{purpose} {seed} {id_}")[:13], 16) / 16**13
