"""Tables of serving: answers that were given and those that nobody saw, API keys, challengers that are tried."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base


class ServedAnswerRow(Base):
    """ServedAnswer, with what is searched beside it."""

    __tablename__ = "served_answers"
    __table_args__ = (Index("ix_served_answers_project_at", "project", "at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    system_id: Mapped[str]
    asked_by: Mapped[str | None]
    at: Mapped[datetime]
    record: Mapped[dict[str, Any]]


class ApiKeyRow(Base):
    """ApiKey; the key itself is never stored."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("uq_api_keys_sha256", "sha256", unique=True),)
    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    role: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class TrialRow(Base):
    """Trial; of a project at most one goes on."""

    __tablename__ = "trials"
    __table_args__ = (Index("uq_trials_going_on", "project", unique=True, postgresql_where=text("ended_at IS NULL")),)
    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    system_id: Mapped[str]
    champion_id: Mapped[str]
    share: Mapped[float]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    reason: Mapped[str]
    dropped: Mapped[int]
    failed: Mapped[int]


class ShadowAnswerRow(Base):
    """ShadowAnswer, under the id of the answer that was given; whoever removes that one removes this one."""

    __tablename__ = "shadow_answers"
    __table_args__ = (Index("ix_shadow_answers_project_at", "project", "at"),)
    answer_id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    system_id: Mapped[str]
    at: Mapped[datetime]
    record: Mapped[dict[str, Any]]
