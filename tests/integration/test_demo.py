"""What `make demo` and `make demo-next` do, with the real model: a promotion, nothing new, a second edition, a replay, a
rollback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browsers import browsing

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FIRST, SECOND = ROOT / "examples" / "catalogue.toml", ROOT / "examples" / "catalogue-2.toml"


class Demo:
    """The command on a data folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def csift(self, *arguments: str) -> str:
        environment = {**os.environ, "CSIFT_DATA_DIR": str(self.data)}
        result = subprocess.run([sys.executable, "-m", "flows.cli", *arguments], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def status(self) -> dict[str, Any]:
        return json.loads(self.csift("status", "--config", str(FIRST), "--json"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def first(demo: Demo) -> tuple[str, dict[str, Any]]:
    return demo.csift("run", "nightly", "--config", str(FIRST)), demo.status()


@pytest.fixture(scope="module")
def second(demo: Demo, first: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    assert "Nothing was retrained" in demo.csift("run", "nightly", "--config", str(FIRST))
    return demo.csift("backfill", "--config", str(SECOND), "--promote"), demo.status()


def test_the_first_night_promotes_a_challenger_with_its_interval_above_zero(first: tuple[str, dict[str, Any]]) -> None:
    printed, status = first

    assert status["decision"] == "PROMOTE"
    assert 0 < status["low"] < status["high"]
    assert status["drift"] == "no drift"
    assert status["champion"]["adapter_id"]
    assert len(status["lineage"]["documents"]) == 30
    assert status["lineage"]["sources"]["human"] == 180
    for part in ("PROMOTE", "Accuracy", "Difference", "synthesise", "train", "Report"):
        assert part in printed


def test_the_second_edition_drifts_retires_and_is_judged(second: tuple[str, dict[str, Any]]) -> None:
    printed, status = second
    report = Path(status["cycles"][0]["report_uri"]).read_text()

    assert status["drift"] == "drift"
    assert status["decision"] in ("PROMOTE", "HOLD", "REJECT")
    assert "guarded" in printed
    # Drayton and Petrel changed, Wexford is gone: 36 of 120 eval questions; the other 84 are guarded beside 28 new ones.
    assert "112 questions" in " ".join(printed.split())
    for label, reason in (("petrel-07", "changed"), ("wexford-01", "gone"), ("kestrel-40-01", "changed"), ("ibex-5-01", "gone")):
        assert label in report and reason in report


def test_a_decision_replays_to_the_same_verdict(demo: Demo, first: tuple[str, dict[str, Any]]) -> None:
    id_ = first[1]["cycles"][0]["decision_id"]

    assert "the same in every number" in demo.csift("decide", "--replay", id_, "--config", str(FIRST))


def test_the_report_shows_itself_in_a_browser_and_loads_nothing(first: tuple[str, dict[str, Any]]) -> None:
    asked = []
    with browsing() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(Path(first[1]["cycles"][0]["report_uri"]).as_uri())
        heading = page.locator("h1").inner_text()
        questions = page.locator("article").count()
        overflow = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    assert "challenger" in heading
    assert questions == 120
    assert not overflow
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_rollback_takes_the_last_promotion_back(demo: Demo, second: tuple[str, dict[str, Any]]) -> None:
    before = demo.status()["champion"]["id"]

    printed = demo.csift("rollback", "--config", str(FIRST))

    assert before in printed
    assert demo.status()["champion"]["id"] != before
