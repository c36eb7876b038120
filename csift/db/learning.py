"""Tables of training data, adapters and the model calls that were made for them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class ExampleRow(RecordTable, Base):
    """Example."""

    __tablename__ = "examples"


class PreferencePairRow(RecordTable, Base):
    """PreferencePair."""

    __tablename__ = "preference_pairs"


class RatedAnswerRow(RecordTable, Base):
    """RatedAnswer."""

    __tablename__ = "rated_answers"


class ScoredAnswerRow(RecordTable, Base):
    """ScoredAnswer."""

    __tablename__ = "scored_answers"


class DatasetRow(RecordTable, Base):
    """DatasetVersion."""

    __tablename__ = "datasets"
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))


class RejectionRow(Base):
    """Rejection of a candidate for a dataset."""

    __tablename__ = "rejections"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
    record: Mapped[dict[str, Any]]


class AdapterRow(RecordTable, Base):
    """Adapter; a teacher's is trained on lessons, which are no DatasetVersion."""

    __tablename__ = "adapters"
    dataset_id: Mapped[str] = mapped_column(index=True)


class CustomModelRow(RecordTable, Base):
    """CustomModel, by its name."""

    __tablename__ = "custom_models"
    arn: Mapped[str] = mapped_column(unique=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))


class LossRow(Base):
    """LossPoint of the training of an adapter or, by its name, of a custom model."""

    __tablename__ = "losses"
    adapter_id: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    loss: Mapped[float]
    learning_rate: Mapped[float | None]
    tokens: Mapped[int]


class CallRow(Base):
    """The ledger: one model call, written before it is made and filled in when it ends.

    `key` is all that the answer depends on; a call with a `response` is never made again. Until it is known how a call ended,
    its `outcome` is "in flight" and its tokens and cost are the most that it may take. A cost that is null has no known price.
    """

    __tablename__ = "calls"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[str] = mapped_column(index=True)
    model: Mapped[str]
    role: Mapped[str]
    prompt_hash: Mapped[str]
    response: Mapped[dict[str, Any] | None]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost_usd: Mapped[float | None]
    seconds: Mapped[float]
    outcome: Mapped[str]
    cycle_id: Mapped[str | None] = mapped_column(index=True)
    partition_id: Mapped[str | None] = mapped_column(index=True)
    at: Mapped[datetime] = mapped_column(default=now)


class SpendingRow(Base):
    """What a cycle's served calls have taken, with what those in flight may take: the one figure a budget is held against."""

    __tablename__ = "spending"
    cycle_id: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[int] = mapped_column(BigInteger)
    usd: Mapped[float]
