"""How the chance of a false alarm in a month is shared out (Bonferroni: whatever the checks have to do with one another)."""

from typing import Literal

Signal = Literal["questions", "retrieval", "answers", "accuracy"]

# Half to the questions, which change first: what follows from them is seen in the others as well.
SHARES: dict[Signal, float] = {"questions": 0.5, "retrieval": 0.125, "answers": 0.125, "accuracy": 0.25}
DAYS = 31


def monthly_level(false_alarms: float, signal: Signal) -> float:
    """The chance of any false alarm of one signal in a month, where `false_alarms` is that of all."""
    return false_alarms * SHARES[signal]


def daily_level(false_alarms: float, signal: Signal) -> float:
    """The level of one check of a signal that is checked once a day."""
    return monthly_level(false_alarms, signal) / DAYS
