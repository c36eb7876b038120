"""The ledger: every model call with its tokens, money, time and outcome. A call whose answer is in it is not made again.

A call that costs money is written down before it is made (`reserve`) at the most it may take, and filled in as soon as it ends
(`settle`). So after `kill -9` every call that was answered and booked is there, and one whose end nobody heard of still counts
against the cycle's budget and is listed by `unsettled`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.base import now
from csift.db.connection import Database
from csift.db.learning import CallRow, SpendingRow
from csift.db.operations import CycleRow
from csift.exceptions import BudgetExhausted
from csift.hashing import content_id
from csift.interfaces import Messages
from csift.schemas import Cost, Failure, Generation, GenerationParams, TeacherRate

IN_FLIGHT = "in flight"
REFUSED: Literal["refused"] = "refused"
CALLS, SPENDING = cast(sa.Table, CallRow.__table__), cast(sa.Table, SpendingRow.__table__)
CENT_DUST = 1e-9  # US$; sums of floats are compared with this much room

Reply = Generation | Failure  # a Failure is the model's refusal: an answer that was paid for, and no text


@dataclass(frozen=True)
class Call:
    """One call to a model. `model` names weights and adapter; the role (teacher, rag ...) and the partition of a backfill that it
    is made for are for the accounts only."""

    model: str
    role: str
    messages: Messages
    params: GenerationParams
    partition_id: str | None = None

    @property
    def key(self) -> str:
        """All that the answer depends on."""
        return content_id("call", [self.model, list(self.messages), self.params.model_dump()])

    @property
    def prompt_hash(self) -> str:
        """Hash of the chat alone."""
        return content_id("prompt", list(self.messages))


@dataclass(frozen=True)
class Charge:
    """What a call takes; `usd` is None when the model has no known price."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True)
class Budget:
    """The most that a cycle's served calls may take; None is no limit."""

    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Reservation:
    """A call that is written down and may be made."""

    id: int
    most: Charge


@dataclass(frozen=True)
class Unsettled:
    """A call that was sent, or was about to be, and of whose end nothing was heard; `charge` is the most it may have taken."""

    model: str
    role: str
    prompt_hash: str
    charge: Charge
    at: datetime


class Ledger:
    """The calls of all cycles; new ones are booked on `cycle_id`."""

    def __init__(self, db: Database, cycle_id: str | None = None) -> None:
        self.db = db
        self.cycle_id = cycle_id

    def find(self, calls: Sequence[Call]) -> dict[str, Reply]:
        """Answers already had (the first of each), by call key; they are counted as reused in the cycle's cost."""
        known = (
            sa.select(CALLS.c.key, CALLS.c.outcome, CALLS.c.response)
            .where(CALLS.c.key.in_({call.key for call in calls}), CALLS.c.response.is_not(None))
            .order_by(CALLS.c.id.desc())
        )
        with self.db.engine.begin() as connection:
            found: dict[str, Reply] = {
                key: (Failure if outcome == REFUSED else Generation).model_validate(response)
                for key, outcome, response in connection.execute(known)
            }
            if found and self.cycle_id:
                reused = sum(call.key in found for call in calls)
                connection.execute(
                    sa.update(CycleRow).where(CycleRow.id == self.cycle_id).values(reused_calls=CycleRow.reused_calls + reused)
                )
        return found

    def book(self, answered: Iterable[tuple[Call, Generation]]) -> None:
        """Writes answered calls that cost nothing, all or none."""
        rows = [
            self._row(call, Charge(answer.tokens_in, answer.tokens_out))
            | {"response": answer.model_dump(), "seconds": answer.seconds, "outcome": answer.finish}
            for call, answer in answered
        ]
        if rows:
            with self.db.engine.begin() as connection:
                connection.execute(sa.insert(CALLS), rows)

    def reserve(self, call: Call, most: Charge, budget: Budget) -> Reservation:
        """Writes down a call that is about to be made, if the budget leaves room for the most it may take.

        Raises:
            BudgetExhausted: it does not; nothing is written.
        """
        row = self._row(call, most)
        with self.db.engine.begin() as connection:
            if self.cycle_id is None:
                return Reservation(connection.scalars(sa.insert(CALLS).returning(CALLS.c.id), row).one(), most)
            statement, values = _reserve(budget), {f"{name}_": value for name, value in row.items()}
            values |= {"more_tokens": most.tokens, "more_usd": most.usd or 0.0}
            id_ = connection.scalar(statement, values)
            if id_ is None:  # the cycle's first call, or one too many
                none_yet = {"cycle_id": self.cycle_id, "tokens": 0, "usd": 0.0}
                connection.execute(insert(SPENDING).on_conflict_do_nothing(), none_yet)
                id_ = connection.scalar(statement, values)
            if id_ is None:
                raise BudgetExhausted(_used_up(*_spent(connection, self.cycle_id), most, budget))
        return Reservation(id_, most)

    def settle(self, reservation: Reservation, outcome: str, charge: Charge, seconds: float, reply: Reply | None = None) -> None:
        """Fills in how a call ended: what it took, and its answer if it has one. Settling again changes nothing."""
        most = reservation.most
        values: dict[str, Any] = {
            "id_": reservation.id,
            "cycle_id_": self.cycle_id,
            "outcome_": outcome,
            "tokens_in_": charge.tokens_in,
            "tokens_out_": charge.tokens_out,
            "cost_usd_": charge.usd,
            "seconds_": seconds,
            "more_tokens": charge.tokens - most.tokens,
            "more_usd": (charge.usd or 0.0) - (most.usd or 0.0),
        }
        if reply is not None:
            values["response_"] = reply.model_dump()
        with self.db.engine.begin() as connection:
            connection.execute(_settle(reply is not None), values)

    def _row(self, call: Call, charge: Charge) -> dict[str, Any]:
        return {
            "key": call.key,
            "model": call.model,
            "role": call.role,
            "prompt_hash": call.prompt_hash,
            "tokens_in": charge.tokens_in,
            "tokens_out": charge.tokens_out,
            "cost_usd": charge.usd,
            "seconds": 0.0,
            "outcome": IN_FLIGHT,
            "cycle_id": self.cycle_id,
            "partition_id": call.partition_id,
            "at": now(),
        }


@lru_cache(maxsize=4)
def _reserve(budget: Budget) -> Any:
    """One statement that adds to the cycle's figure and, if that was in the budget, writes the call; gives its id or nothing.

    The lock on the figure's row makes it one after another for all threads and processes. Parameters end in an underscore where
    a column has the same name, which SQLAlchemy would set.
    """
    usd, tokens = SPENDING.c.usd + sa.bindparam("more_usd"), SPENDING.c.tokens + sa.bindparam("more_tokens")
    add = sa.update(SPENDING).where(SPENDING.c.cycle_id == sa.bindparam("cycle_id_"))
    if budget.usd is not None:
        add = add.where(usd <= budget.usd + CENT_DUST)
    if budget.tokens is not None:
        add = add.where(tokens <= budget.tokens)
    names = [column.name for column in CALLS.c if column.name not in {"id", "response"}]
    row = sa.select(*(sa.bindparam(f"{name}_", type_=CALLS.c[name].type) for name in names))
    within = add.values(tokens=tokens, usd=usd).returning(SPENDING.c.cycle_id).cte("within")
    return sa.insert(CALLS).from_select(names, row.select_from(within), include_defaults=False).returning(CALLS.c.id)


@lru_cache(maxsize=2)
def _settle(answered: bool) -> Any:
    """One statement that fills in an open call and corrects the cycle's figure."""
    names = ["outcome", "tokens_in", "tokens_out", "cost_usd", "seconds", *(["response"] if answered else [])]
    open_ = sa.update(CALLS).where(CALLS.c.id == sa.bindparam("id_"), CALLS.c.outcome == IN_FLIGHT)
    ended = open_.values({name: sa.bindparam(f"{name}_", type_=CALLS.c[name].type) for name in names})
    settled = ended.returning(CALLS.c.id).cte("settled")
    return (
        sa.update(SPENDING)
        .where(SPENDING.c.cycle_id == sa.bindparam("cycle_id_"), sa.exists(settled.select()))
        .values(tokens=SPENDING.c.tokens + sa.bindparam("more_tokens"), usd=SPENDING.c.usd + sa.bindparam("more_usd"))
    )


def _used_up(tokens: int, usd: float, most: Charge, budget: Budget) -> str:
    money = f"${usd:.4f} of ${budget.usd:.4f}, " if budget.usd is not None else ""
    words = f"{tokens:,} of {budget.tokens:,} tokens, " if budget.tokens is not None else ""
    return (
        f"the cycle's budget is used up: {money}{words}spent or in flight, and the next call may take ${most.usd or 0.0:.4f} and "
        f"{most.tokens:,} tokens; raise [budget] and run again, and it continues where it stopped"
    )


def cost_of(db: Database, cycle_id: str) -> Cost:
    """What a cycle's own calls took, and how many answers it could take from earlier ones.

    Calls without an answer are not counted, but what they took or may have taken is in the tokens and the money.
    """
    with db.session() as session:
        calls, tokens_in, tokens_out, usd = session.execute(
            sa.select(
                sa.func.count(CallRow.response),
                sa.func.coalesce(sa.func.sum(CallRow.tokens_in), 0),
                sa.func.coalesce(sa.func.sum(CallRow.tokens_out), 0),
                sa.func.coalesce(sa.func.sum(CallRow.cost_usd), 0.0),
            ).where(CallRow.cycle_id == cycle_id)
        ).one()
        reused = session.scalar(sa.select(CycleRow.reused_calls).where(CycleRow.id == cycle_id)) or 0
    return Cost(calls=calls, reused_calls=reused, tokens_in=int(tokens_in), tokens_out=int(tokens_out), usd=float(usd))


def measured(db: Database, model: str, role: str) -> TeacherRate | None:
    """What the answered calls of a model took on average, whatever adapter it had; None before the first."""
    with db.session() as session:
        calls, tokens_in, tokens_out, seconds = session.execute(
            sa.select(
                sa.func.count(), sa.func.avg(CallRow.tokens_in), sa.func.avg(CallRow.tokens_out), sa.func.avg(CallRow.seconds)
            ).where(
                sa.or_(CallRow.model == model, CallRow.model.startswith(f"{model}@", autoescape=True)),
                CallRow.role == role,
                CallRow.response.is_not(None),
            )
        ).one()
    if not calls:
        return None
    return TeacherRate(calls=calls, tokens_in=float(tokens_in), tokens_out=float(tokens_out), seconds=float(seconds))


def spent(db: Database, cycle_id: str) -> tuple[int, float]:
    """Tokens and US$ that count against a cycle's budget: what its served calls took, and the most those in flight may take."""
    with db.engine.connect() as connection:
        return _spent(connection, cycle_id)


def _spent(connection: sa.Connection, cycle_id: str) -> tuple[int, float]:
    row = connection.execute(sa.select(SPENDING.c.tokens, SPENDING.c.usd).where(SPENDING.c.cycle_id == cycle_id)).one_or_none()
    return (row.tokens, round(row.usd, 12) + 0.0) if row else (0, 0.0)  # without the dust of float sums


def outcomes(db: Database, cycle_id: str) -> dict[str, int]:
    """How a cycle's calls ended, with their numbers: stop, length, refused, in flight, or the kind of error."""
    with db.session() as session:
        rows = session.execute(
            sa.select(CallRow.outcome, sa.func.count()).where(CallRow.cycle_id == cycle_id).group_by(CallRow.outcome)
        ).tuples()
        return dict(sorted(rows.all()))


def unsettled(db: Database, cycle_id: str) -> list[Unsettled]:
    """Calls in flight, oldest first. While no process works on the cycle, they are those that a kill cut off."""
    with db.session() as session:
        rows = session.scalars(
            sa.select(CallRow).where(CallRow.cycle_id == cycle_id, CallRow.outcome == IN_FLIGHT).order_by(CallRow.id)
        ).all()
    return [
        Unsettled(row.model, row.role, row.prompt_hash, Charge(row.tokens_in, row.tokens_out, row.cost_usd), row.at)
        for row in rows
    ]
