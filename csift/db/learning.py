"""Tables of training data, adapters and the model calls that were made for them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class ExampleRow(RecordTable, Base):
    """Example."""

    __tablename__ = "examples"


class PreferencePairRow(RecordTable, Base):
    """PreferencePair."""

    __tablename__ = "preference_pairs"


class DatasetRow(RecordTable, Base):
    """DatasetVersion."""

    __tablename__ = "datasets"
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))


class AdapterRow(RecordTable, Base):
    """Adapter."""

    __tablename__ = "adapters"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))


class LossRow(Base):
    """LossPoint of an adapter's training."""

    __tablename__ = "losses"
    adapter_id: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    loss: Mapped[float]
    learning_rate: Mapped[float]
    tokens: Mapped[int]


class CallRow(Base):
    """The ledger: one model call, keyed by all that its answer depends on, with the answer, so that it is never made twice."""

    __tablename__ = "calls"
    key: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    role: Mapped[str]
    prompt_hash: Mapped[str]
    response: Mapped[dict[str, Any]]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost_usd: Mapped[float]
    seconds: Mapped[float]
    outcome: Mapped[str]
    cycle_id: Mapped[str | None] = mapped_column(index=True)
    at: Mapped[datetime] = mapped_column(default=now)
