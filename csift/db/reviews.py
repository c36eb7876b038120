"""Tables of what reviewers say."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base


class ReviewVoteRow(Base):
    """ReviewVote: one of a person on an item."""

    __tablename__ = "review_votes"
    project: Mapped[str] = mapped_column(primary_key=True)
    round_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    voter: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class WrittenLabelRow(Base):
    """WrittenLabel."""

    __tablename__ = "written_labels"
    project: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[dict[str, Any]]
    at: Mapped[datetime]
