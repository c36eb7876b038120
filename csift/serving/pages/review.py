"""Review: two answers side by side, whose they are untold, and what people make of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift import feedback, reviews
from csift.db.base import now
from csift.exceptions import GateError
from csift.reviews import Outcome, Pair, Round
from csift.schemas import PREFERENCES, Preference, ReviewVote
from csift.serving.access import Denied
from csift.serving.asking import Server
from csift.serving.pages.desk import Desk, Post, Visit, to

_SIDES = ("first", "second")


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server = desk.server
    reviewer, sent = desk.visitor("review"), desk.post("review")

    @router.get("/review")
    def overview(request: Request, visit: Visit = reviewer) -> Response:
        parts = [_Part(server, round_, visit.person) for round_ in reviews.open_rounds(server.db, server.project)]
        contradicted = sum(dispute.settled is None for dispute in feedback.disputes(server.db, server.project))
        return desk.page(request, visit, "review.html", parts=parts, contradicted=contradicted)

    @router.get("/review/{round_id}/{number}")
    def pair(request: Request, round_id: str, number: int, visit: Visit = reviewer, settle: bool = False) -> Response:
        if visit.person is None:
            return to("/review")
        part, shown = _find(server, round_id, number, visit.person)
        own, first = part.own(shown), part.champion_first(shown)
        return desk.page(
            request,
            visit,
            "pair.html",
            round=part.round,
            pair=shown,
            answers=(shown.champion, shown.challenger) if first else (shown.challenger, shown.champion),
            chosen=_as_shown(own.verdict, first) if own else None,
            settle=settle,
        )

    @router.post("/review/{round_id}/{number}")
    def vote(round_id: str, number: int, post: Post = sent) -> Response:
        if post.visit.person is None:
            raise Denied(400, "invalid_request_error", "say your name on the review page first")
        part, shown = _find(server, round_id, number, post.visit.person)
        settle = bool(post["settle"])
        if settle and number not in part.disputed():
            raise Denied(409, "invalid_request_error", "this question is not yours to settle: it is settled, or you voted on it")
        part.cast(shown, post["verdict"], settle)
        onward = None if settle else _next(part.left(without=shown), number)
        return to(f"/review/{round_id}/{onward}" if onward else "/review")

    return router


@dataclass(frozen=True)
class _Part:
    """One person's part in a round; `votes` has everybody's."""

    server: Server
    round: Round
    person: str | None

    @cached_property
    def votes(self) -> list[ReviewVote]:
        """As they were when first asked for."""
        return reviews.votes_of(self.server.db, self.round.project, self.round.id)

    def own(self, shown: Pair) -> ReviewVote | None:
        return next((vote for vote in self.votes if vote.item_id == shown.item_id and vote.voter == self.person), None)

    def left(self, without: Pair | None = None) -> list[int]:
        """Numbers of the questions that they have not voted on."""
        seen = {vote.item_id for vote in self.votes if vote.voter == self.person}
        return [pair.number for pair in self.round.pairs if pair.item_id not in seen and pair != without]

    def disputed(self) -> list[int]:
        """Numbers of the questions that they may settle: the votes on them differ, and none is theirs."""
        seen = {vote.item_id for vote in self.votes if vote.voter == self.person}
        return [number for number in self._open() if self.round.pairs[number - 1].item_id not in seen]

    def again(self) -> list[int]:
        """Numbers of the disputed questions that they voted on themselves; none before they voted on all."""
        return [] if self.left() else [number for number in self._open() if number not in self.disputed()]

    def outcome(self) -> Outcome | None:
        """What reviewers say; None before this person voted on all, who is not to be told what others said."""
        return reviews.outcome(self.round, self.votes) if self.votes and not self.left() else None

    def _open(self) -> list[int]:
        differ = reviews.contested(self.votes)
        return [pair.number for pair in self.round.pairs if pair.item_id in differ]

    def champion_first(self, shown: Pair) -> bool:
        """The order as it was when they voted, else one drawn for them that stays when the page is loaded again."""
        if own := self.own(shown):
            return own.champion_first
        drawn = self.server.sessions.draw("order", self.round.id, shown.item_id, str(self.person))
        return int(drawn, 16) % 2 == 0

    def cast(self, shown: Pair, said: str, settle: bool) -> None:
        """Keeps their vote. Raises Denied for a verdict that there is not."""
        first = self.champion_first(shown)
        vote = ReviewVote(
            project=self.round.project,
            round_id=self.round.id,
            item_id=shown.item_id,
            voter=str(self.person),
            champion_system_id=self.round.champion_system_id,
            challenger_system_id=self.round.challenger_system_id,
            champion_first=first,
            verdict=_meant(said, first),
            at=now(),
            settles=settle,
        )
        reviews.cast(self.server.db, vote)


def _find(server: Server, round_id: str, number: int, person: str) -> tuple[_Part, Pair]:
    try:
        round_ = reviews.load_round(server.db, server.project, round_id)
    except GateError:
        raise Denied(404, "not_found", "there is no such round to review") from None
    if not 1 <= number <= len(round_.pairs):
        raise Denied(404, "not_found", f"this round has {len(round_.pairs)} questions")
    return _Part(server, round_, person), round_.pairs[number - 1]


def _next(left: Sequence[int], number: int) -> int | None:
    """The next of these numbers, from the beginning again after the last."""
    return next((one for one in left if one > number), left[0] if left else None)


def _meant(said: str, champion_first: bool) -> Preference:
    """What a vote for the first or second answer means."""
    if said in _SIDES:
        return "champion" if (said == "first") == champion_first else "challenger"
    found = next((verdict for verdict in PREFERENCES if verdict == said), None)
    if found not in ("tie", "both bad"):
        raise Denied(400, "invalid_request_error", f"a verdict is one of {', '.join(_SIDES)}, tie, both bad")
    return found


def _as_shown(verdict: Preference, champion_first: bool) -> str:
    """The inverse of `_meant`."""
    if verdict in ("champion", "challenger"):
        return _SIDES[0] if (verdict == "champion") == champion_first else _SIDES[1]
    return verdict
