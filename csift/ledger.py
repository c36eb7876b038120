"""The ledger: every model call with its tokens, money, time and answer. A call that is in it is not made again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.learning import CallRow
from csift.db.operations import CycleRow
from csift.hashing import content_id
from csift.interfaces import Messages
from csift.schemas import Cost, Generation, GenerationParams


@dataclass(frozen=True)
class Call:
    """One call to a model. `model` names weights and adapter; the role (teacher, rag ...) is for the accounts only."""

    model: str
    role: str
    messages: Messages
    params: GenerationParams

    @property
    def key(self) -> str:
        """All that the answer depends on."""
        return content_id("call", [self.model, list(self.messages), self.params.model_dump()])

    @property
    def prompt_hash(self) -> str:
        """Hash of the chat alone."""
        return content_id("prompt", list(self.messages))


class Ledger:
    """The calls of all cycles; new ones are booked on `cycle_id`."""

    def __init__(self, db: Database, cycle_id: str | None = None) -> None:
        self.db = db
        self.cycle_id = cycle_id

    def find(self, calls: Sequence[Call]) -> dict[str, Generation]:
        """Answers already had, by call key; they are counted as reused in the cycle's cost."""
        with self.db.session() as session:
            rows = session.execute(
                sa.select(CallRow.key, CallRow.response).where(CallRow.key.in_({call.key for call in calls}))
            ).tuples()
            found = {key: Generation.model_validate(response) for key, response in rows}
            if found and self.cycle_id:
                reused = sum(call.key in found for call in calls)
                session.execute(
                    sa.update(CycleRow).where(CycleRow.id == self.cycle_id).values(reused_calls=CycleRow.reused_calls + reused)
                )
        return found

    def book(self, answered: Iterable[tuple[Call, Generation]], usd_per_call: float = 0.0) -> None:
        """Writes calls with their answers, all or none."""
        rows = {
            call.key: {
                "key": call.key,
                "model": call.model,
                "role": call.role,
                "prompt_hash": call.prompt_hash,
                "response": answer.model_dump(),
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
                "cost_usd": usd_per_call,
                "seconds": answer.seconds,
                "outcome": answer.finish,
                "cycle_id": self.cycle_id,
            }
            for call, answer in answered
        }
        if rows:
            with self.db.session() as session:
                session.execute(insert(CallRow).on_conflict_do_nothing(), list(rows.values()))


def cost_of(db: Database, cycle_id: str) -> Cost:
    """What a cycle's own calls took, and how many it could take from earlier ones."""
    with db.session() as session:
        calls, tokens_in, tokens_out, usd = session.execute(
            sa.select(
                sa.func.count(),
                sa.func.coalesce(sa.func.sum(CallRow.tokens_in), 0),
                sa.func.coalesce(sa.func.sum(CallRow.tokens_out), 0),
                sa.func.coalesce(sa.func.sum(CallRow.cost_usd), 0.0),
            ).where(CallRow.cycle_id == cycle_id)
        ).one()
        reused = session.scalar(sa.select(CycleRow.reused_calls).where(CycleRow.id == cycle_id)) or 0
    return Cost(calls=calls, reused_calls=reused, tokens_in=int(tokens_in), tokens_out=int(tokens_out), usd=float(usd))
