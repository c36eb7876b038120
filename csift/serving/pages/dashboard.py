"""Dashboard: the champion, how it got there, and what is behind every number."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from csift import overview, trends
from csift.reports import trend_plots
from csift.reports.trend_plots import Accuracy, Look, Said
from csift.reports.verdicts import approval_sentence
from csift.serving.pages.desk import Desk, Visit
from csift.trends import Trends


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()
    server, reviewer = desk.server, desk.visitor("review")

    @router.get("/dashboard")
    def dashboard(request: Request, visit: Visit = reviewer) -> Response:
        told = trends.read_trends(server.db, server.project)
        status = overview.read_status(server.db, server.project)
        return desk.page(
            request,
            visit,
            "dashboard.html",
            now=status,
            trends=told,
            awaiting=[approval_sentence(decision) for decision in status.awaiting],
            plots=_plots(told),
        )

    return router


def _plots(told: Trends) -> dict[str, object]:
    """Pictures of what there is to draw."""
    accuracy = tuple(
        Accuracy(one.at, one.accuracy.value, one.accuracy.low, one.accuracy.high, bool(one.move), one.decision.history.life)
        for one in told.decisions
    )
    drift = tuple(Look(one.at, min(signal.p_value / signal.level for signal in one.report.signals)) for one in told.drift)
    weeks = tuple(Said(week.begin.date(), week.good, week.bad, week.edits) for week in told.feedback)
    return {
        "accuracy": trend_plots.accuracy_over_time(accuracy) if accuracy else None,
        "drift": trend_plots.drift_over_time(drift) if drift else None,
        "feedback": trend_plots.feedback_over_time(weeks) if any(week.good or week.bad or week.edits for week in weeks) else None,
    }
