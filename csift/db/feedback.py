"""Tables of what people, and a critic, said of answers, of what datasets made of it, and of its deletion."""

from datetime import datetime
from typing import Any

from sqlalchemy import String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class FeedbackRow(Base):
    """FeedbackRecord or Ranking of a project; two projects may know the same one. By `rater` all that one person said is found,
    by `key_id` all that was said with an API key, by `answer_ids` the served answers that it is about, where they are known.
    """

    __tablename__ = "feedback"
    project: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    rater: Mapped[str | None] = mapped_column(index=True)
    record: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now())
    said_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now())
    answer_ids: Mapped[list[str]] = mapped_column(ARRAY(String), default=list, server_default="{}")
    key_id: Mapped[str | None]


class SettlementRow(Base):
    """Who is right in a Dispute; its id is a hash."""

    __tablename__ = "settlements"
    project: Mapped[str] = mapped_column(primary_key=True)
    dispute_id: Mapped[str] = mapped_column(primary_key=True)
    verdict: Mapped[str]
    settled_by: Mapped[str]
    at: Mapped[datetime]


class CritiqueRow(Base):
    """Critique of a served answer."""

    __tablename__ = "critiques"
    answer_id: Mapped[str] = mapped_column(primary_key=True)
    critic_id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    value: Mapped[float]
    correct: Mapped[bool]
    at: Mapped[datetime] = mapped_column(default=now)


class OriginRow(Base):
    """Which feedback a training row was made of; of a critic's row, which served answer."""

    __tablename__ = "origins"
    row_id: Mapped[str] = mapped_column(primary_key=True)
    feedback_id: Mapped[str] = mapped_column(primary_key=True, index=True)


class DeletionRow(RecordTable, Base):
    """Deletion."""

    __tablename__ = "deletions"
    project: Mapped[str] = mapped_column(index=True)
