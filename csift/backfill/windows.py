"""Windows of time that cover every day exactly once, and the date of a document by its path."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

from csift.schemas.base import Every

# 2024-03, 2024-03-17, 2024/03/17, 2024_03 ... with one kind of separator
DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_/.])(0[1-9]|1[0-2])(?:\2(\d\d))?(?!\d)")


@dataclass(frozen=True)
class Window:
    """A stretch of the calendar, from its first to its last day."""

    name: str
    first: date
    last: date


def window_of(day: date, every: Every) -> Window:
    """The window that a day lies in; weeks are those of ISO 8601, from Monday."""
    if every == "day":
        return Window(f"{day:%Y-%m-%d}", day, day)
    if every == "week":
        monday = day - timedelta(days=day.weekday())
        year, week, _ = day.isocalendar()
        return Window(f"{year}-W{week:02d}", monday, monday + timedelta(days=6))
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    start = day.month - (day.month - 1) % months
    end = start + months - 1
    name = {"month": f"{day:%Y-%m}", "quarter": f"{day:%Y}-Q{end // 3}", "year": f"{day:%Y}"}[every]
    return Window(name, date(day.year, start, 1), date(day.year, end, calendar.monthrange(day.year, end)[1]))


def date_in(path: str) -> date | None:
    """The first day that a path names; else the first of the first month that it names; else None."""
    months = []
    for found in DATE.finditer(path):
        year, month, day = int(found[1]), int(found[3]), int(found[4] or 0)
        if 1 <= day <= calendar.monthrange(year, month)[1]:
            return date(year, month, day)
        months.append(date(year, month, 1))
    return months[0] if months else None
