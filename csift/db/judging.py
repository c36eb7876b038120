"""Tables of evaluation, of forgetting, and of the champion."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from csift.db.base import Base, RecordTable, now


class EvalSetRow(RecordTable, Base):
    """EvalSet; `sequence` orders the sets of a project."""

    __tablename__ = "evalsets"
    project: Mapped[str] = mapped_column(index=True)


class SystemRow(RecordTable, Base):
    """System."""

    __tablename__ = "systems"
    adapter_id: Mapped[str | None] = mapped_column(ForeignKey("adapters.id"))
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))


class EvalReportRow(RecordTable, Base):
    """EvalReport: computed once per System, EvalSet, Judge and what was measured with."""

    __tablename__ = "eval_reports"
    system_id: Mapped[str] = mapped_column(ForeignKey("systems.id"))
    evalset_id: Mapped[str] = mapped_column(ForeignKey("evalsets.id"))
    judge_id: Mapped[str]
    accuracy: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    failures: Mapped[int]


class GeneralScoreRow(RecordTable, Base):
    """GeneralScore: computed once per model, general question set and grader."""

    __tablename__ = "general_scores"
    general_id: Mapped[str]
    base_revision: Mapped[str]
    adapter_id: Mapped[str | None] = mapped_column(index=True)


class RetentionRow(RecordTable, Base):
    """Retention."""

    __tablename__ = "retentions"
    before_system_id: Mapped[str]
    after_system_id: Mapped[str] = mapped_column(index=True)
    low: Mapped[float]
    high: Mapped[float]


class JudgeCalibrationRow(RecordTable, Base):
    """JudgeCalibration."""

    __tablename__ = "judge_calibrations"
    judge_id: Mapped[str] = mapped_column(index=True)
    judge_name: Mapped[str]


class DecisionRow(RecordTable, Base):
    """PromotionDecision; `life` is that of the project's eval set."""

    __tablename__ = "decisions"
    project: Mapped[str] = mapped_column(index=True)
    life: Mapped[int]
    conclusive: Mapped[bool]
    verdict: Mapped[str]
    low: Mapped[float]
    high: Mapped[float]


class NightlyDecisionRow(RecordTable, Base):
    """Decisions by the rule of before 0010, whose level held for one night alone. Nothing reads them; they happened."""

    __tablename__ = "decisions_by_night"
    project: Mapped[str] = mapped_column(index=True)
    verdict: Mapped[str]
    low: Mapped[float]
    high: Mapped[float]


class ChampionRow(Base):
    """The champion pointer of a project; moved by compare-and-swap on `version`."""

    __tablename__ = "champions"
    project: Mapped[str] = mapped_column(primary_key=True)
    system_id: Mapped[str] = mapped_column(ForeignKey("systems.id"))
    version: Mapped[int]


class ChampionLogRow(Base):
    """Every move of the pointer, never changed."""

    __tablename__ = "champion_log"
    project: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    from_system_id: Mapped[str | None]
    to_system_id: Mapped[str] = mapped_column(ForeignKey("systems.id"))
    decision_id: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(default=now)
