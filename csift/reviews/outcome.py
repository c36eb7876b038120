"""What a round of votes comes to: wins, losses and ties with an interval, and how far people agree, with each other and with the
judge."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from csift.agreement import cohens_kappa, krippendorffs_alpha
from csift.intervals import paired_difference
from csift.reviews.rounds import Round
from csift.schemas import Interval, Preference, ReviewVote


@dataclass(frozen=True)
class Agreement:
    """How far two or more agree: the share of pairs of verdicts that are the same, and a coefficient beyond chance, None where it
    is undefined. `items` were seen by at least two of them."""

    items: int
    share: float
    measure: str
    value: float | None


@dataclass(frozen=True)
class Outcome:
    """Of the items that have a verdict: how many the challenger won and lost, ties, and both bad. `difference` is the share won
    less the share lost, with its 95% interval. `contested` items have no verdict yet. `people` and `judge` are None where nothing
    can be compared."""

    wins: int
    losses: int
    ties: int
    both_bad: int
    difference: Interval
    contested: tuple[str, ...]
    voters: int
    people: Agreement | None
    judge: Agreement | None


def outcome(round_: Round, votes: Sequence[ReviewVote]) -> Outcome:
    """What the votes of a round come to."""
    verdicts = {item: settled(of_item) for item, of_item in _by_item(votes).items()}
    counts = Counter(verdict for verdict in verdicts.values() if verdict)
    wins, losses, ties, bad = (counts[name] for name in ("challenger", "champion", "tie", "both bad"))
    return Outcome(
        wins=wins,
        losses=losses,
        ties=ties,
        both_bad=bad,
        difference=paired_difference(wins, losses, ties, bad),
        contested=contested(votes),
        voters=len({vote.voter for vote in votes}),
        people=_among_people(votes),
        judge=_with_judge(round_, verdicts),
    )


def settled(votes: Sequence[ReviewVote]) -> Preference | None:
    """The verdict on one item: that of the newest vote that settles, else what more than half of the voters said, else None."""
    settling = [vote for vote in votes if vote.settles]
    if settling:
        return max(settling, key=lambda vote: vote.at).verdict
    verdict, count = Counter(vote.verdict for vote in votes).most_common(1)[0]
    return verdict if 2 * count > len(votes) else None


def contested(votes: Iterable[ReviewVote]) -> tuple[str, ...]:
    """Ids of the items that a further person has to settle, in order."""
    return tuple(item for item, of_item in sorted(_by_item(votes).items()) if settled(of_item) is None)


def _by_item(votes: Iterable[ReviewVote]) -> dict[str, list[ReviewVote]]:
    found: dict[str, list[ReviewVote]] = defaultdict(list)
    for vote in votes:
        found[vote.item_id].append(vote)
    return found


def _among_people(votes: Iterable[ReviewVote]) -> Agreement | None:
    """Cohen's kappa where two voted, else Krippendorff's alpha. Votes that settle were asked for on disputed items only."""
    own = [vote for vote in votes if not vote.settles]
    shared = [of_item for of_item in _by_item(own).values() if len(of_item) > 1]
    if not shared:
        return None
    pairs = [(one, other) for of_item in shared for one in of_item for other in of_item if one.voter < other.voter]
    share = sum(one.verdict == other.verdict for one, other in pairs) / len(pairs)
    if len({vote.voter for of_item in shared for vote in of_item}) == 2:
        sides = [[vote.verdict for vote in side] for side in zip(*pairs, strict=True)]
        return Agreement(len(shared), share, "Cohen's kappa", cohens_kappa(*sides))
    alpha = krippendorffs_alpha([[vote.verdict for vote in of_item] for of_item in shared])
    return Agreement(len(shared), share, "Krippendorff's alpha", alpha)


def _with_judge(round_: Round, verdicts: Mapping[str, Preference | None]) -> Agreement | None:
    """Which answer is better, or neither: a judge that scores answers one by one knows no finer difference."""
    told = [(verdicts.get(pair.item_id), pair.judged) for pair in round_.pairs]
    both = [(_better(people), _better(judge)) for people, judge in told if people and judge]
    if not both:
        return None
    share = sum(people == judge for people, judge in both) / len(both)
    kappa = cohens_kappa([people for people, _ in both], [judge for _, judge in both])
    return Agreement(len(both), share, "Cohen's kappa", kappa)


def _better(verdict: Preference) -> str:
    return verdict if verdict in ("champion", "challenger") else "neither"
