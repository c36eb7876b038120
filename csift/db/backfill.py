"""Tables of backfills: what was planned, and what each partition's documents taught."""

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable


class BackfillRow(RecordTable, Base):
    """BackfillPlan."""

    __tablename__ = "backfills"
    project: Mapped[str] = mapped_column(index=True)


class PartitionRow(RecordTable, Base):
    """TaughtPartition; it is there as soon as the partition is done, and not before."""

    __tablename__ = "partitions"
    project: Mapped[str] = mapped_column(index=True)


class PartitionExampleRow(Base):
    """Example that a partition taught, before the chunks beside it were chosen for a dataset."""

    __tablename__ = "partition_examples"
    partition_id: Mapped[str] = mapped_column(ForeignKey("partitions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
