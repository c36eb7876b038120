"""The nightly schedule over the days on which clocks change, as Prefect's server reckons it."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

from csift.cycles import cycle_id
from deployments.automations import MISSED
from deployments.server import PREFECT_YAML

(NIGHTLY,) = next(entry for entry in yaml.safe_load(PREFECT_YAML.read_text())["deployments"] if entry["name"] == "nightly")[
    "schedules"
]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def year(cron: str, zone: str) -> list[datetime]:
    """When a schedule has its runs in 2026."""
    schedule = CronSchedule(cron=cron, timezone=zone)
    begin = BEGIN.replace(tzinfo=ZoneInfo(zone))
    return [at for month in range(1, 13) for at in asyncio.run(_dates(schedule, begin.replace(month=month)))]


async def _dates(schedule: CronSchedule, begin: datetime) -> list[datetime]:
    end = (begin + timedelta(days=32)).replace(day=1) - timedelta(seconds=1)
    return [datetime.fromtimestamp(at.timestamp(), UTC) for at in await schedule.get_dates(n=100, start=begin, end=end)]


@pytest.mark.parametrize("cron", [NIGHTLY["cron"], "30 2 * * *"])
@pytest.mark.parametrize("zone", [NIGHTLY["timezone"], "Europe/Berlin", "America/New_York"])
def test_every_day_of_the_year_has_one_night_and_its_own_cycle(cron: str, zone: str) -> None:
    runs = year(cron, zone)
    days = {run.astimezone(ZoneInfo(zone)).date() for run in runs}
    gaps = [later - earlier for earlier, later in pairwise(runs)]
    assert len(runs) == len(days) == 365
    assert len({cycle_id("p", "schedule", run) for run in runs}) == 365
    assert max(gaps) < MISSED  # nobody is told that a cycle is missing because the day had 25 hours
    print(f"{cron} in {zone}: {len(runs)} runs on {len(days)} days of 2026, {min(gaps)} to {max(gaps)} apart")


def test_by_default_nights_are_always_a_day_apart() -> None:
    runs = year(NIGHTLY["cron"], NIGHTLY["timezone"])
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(days=1)}


def test_both_runs_of_an_hour_that_comes_twice_have_cycles_of_their_own() -> None:
    hour = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert cycle_id("p", "manual", hour) != cycle_id("p", "manual", hour.replace(fold=1))
    assert cycle_id("p", "manual", hour) == cycle_id("p", "manual", hour.astimezone(UTC))
