"""Review by people: champion's and challenger's answers to the same questions, shown blind and in random order."""

from csift.reviews.outcome import Agreement, Outcome, contested, outcome, settled
from csift.reviews.rounds import SAMPLES, Pair, Round, Shown, judged_pair, load_round, open_rounds
from csift.reviews.votes import cast, votes_of

__all__ = [
    "SAMPLES",
    "Agreement",
    "Outcome",
    "Pair",
    "Round",
    "Shown",
    "cast",
    "contested",
    "judged_pair",
    "load_round",
    "open_rounds",
    "outcome",
    "settled",
    "votes_of",
]
