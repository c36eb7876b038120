"""What reviewers say: votes on two answers to one question, and questions that they label."""

from datetime import datetime
from typing import Literal, get_args

from csift.schemas.base import Record, Style

Preference = Literal["champion", "challenger", "tie", "both bad"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)


class ReviewVote(Record):
    """Which of two answers a person prefers, without having been told whose they are.

    `round_id` is that of the decision or of the trial whose answers they are, `item_id` that of the eval item or of the served
    answer; `champion_first` is the order in which this person was shown the answers. A vote that
    `settles` was asked for because those before it differed; it decides, and says nothing of how well people agree.
    """

    project: str
    round_id: str
    item_id: str
    voter: str
    champion_system_id: str
    challenger_system_id: str
    champion_first: bool
    verdict: Preference
    at: datetime
    settles: bool = False


class WrittenLabel(Record):
    """A labelled question that somebody wrote on a page; the split is that of its document. `answer` is None when the document
    does not answer it, `document_sha256` is the version of it that the writer had."""

    id: str
    project: str
    question: str
    answer: str | None
    document_id: str
    document_sha256: str
    style: Style
    by: str
    at: datetime
