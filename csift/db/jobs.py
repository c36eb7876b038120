"""Table of the work that is asked for in one place and done in another (csift.jobs)."""

from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base


class JobRow(Base):
    """One job. All its times are by the database's clock; whoever knows the present `token` holds it."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(index=True)
    spec: Mapped[dict[str, Any]]
    state: Mapped[str]
    holder: Mapped[str | None]
    token: Mapped[int]
    attempts: Mapped[int]
    heartbeat_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
