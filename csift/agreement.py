"""How far raters who put things into categories agree beyond chance: 1 is always, 0 as by chance."""

from collections import Counter
from collections.abc import Sequence


def cohens_kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Two raters on the same things (Cohen, Educational and Psychological Measurement 1960). None where it is undefined: there is
    nothing that both rated, or both always gave one same category."""
    if len({*one, *other}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(one, other))


def krippendorffs_alpha(things: Sequence[Sequence[str]]) -> float | None:
    """Any number of raters, of whom not all rated each thing; nominal categories (Krippendorff, Computing Krippendorff's
    Alpha-Reliability, 2011). Each thing has its ratings, in any order. None where it is undefined: nothing was rated twice, or
    all ratings are alike."""
    rated = [Counter(ratings) for ratings in things if len(ratings) > 1]
    values = sum(rated, Counter[str]())
    n = values.total()
    by_chance = n * n - sum(count * count for count in values.values())  # pairs of unlike ratings among all
    if not by_chance:
        return None
    unlike = sum((u.total() ** 2 - sum(count * count for count in u.values())) / (u.total() - 1) for u in rated)
    return 1 - (n - 1) * unlike / by_chance
