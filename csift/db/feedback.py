"""Table of what people said of answers."""

from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, now


class FeedbackRow(Base):
    """FeedbackRecord of a project; two projects may know the same one. By `rater` all that one person said is found."""

    __tablename__ = "feedback"
    project: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    rater: Mapped[str | None] = mapped_column(index=True)
    record: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now())
