"""The pages as people use them, in a real browser: asking, a round of reviews by keyboard, dashboard and lineage.

The screenshots stay in pytest's temporary folder; docs/pages-*.png are copies of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from answerers import listening
from browsers import chromium
from desks import desk
from lived import Lived
from playwright.sync_api import Browser, Page, expect
from samples import SCRIPT

from csift import feedback, reviews
from csift.db import Database
from csift.serving.api import create_app

pytestmark = pytest.mark.slow
PROJECT = "catalogue"
ALERTS = """window.alert = (said) => { throw new Error("a script ran: " + said) }"""


@pytest.fixture(scope="module")
def served(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Lived]]:
    with desk(db, PROJECT, tmp_path_factory.mktemp("pages")) as (server, lived), listening(create_app(server)) as url:
        yield url, lived


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def visiting(
    browser: Browser, width: int = 1280, scheme: Literal["light", "dark"] = "light", scripts: bool = True
) -> Iterator[Page]:
    """A page of somebody new; anything on the console, a script of a text that runs, or a page wider than the window fails."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script(ALERTS)
    yield page
    assert said == []
    context.close()


def named(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/review")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("banner")).to_contain_text(name)  # its cookie is there


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_asks_and_says_that_the_answer_was_right(
    served: tuple[str, Lived], browser: Browser, db: Database, scripts: bool, tmp_path: Path
) -> None:
    url, lived = served
    before = len(feedback.load(db, PROJECT))
    with visiting(browser, scripts=scripts) as page:
        page.goto(url)
        page.get_by_label("Your question").fill(f"How heavy is the {SCRIPT}?")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"How heavy is the {SCRIPT}?")
        expect(page.locator(".said")).to_contain_text(f"{lived.challenger.id} says 29 kg")
        expect(page.locator(".sources")).to_contain_text(SCRIPT)  # as text
        page.screenshot(path=tmp_path / "pages-ask.png", full_page=True)
        page.get_by_role("button", name="Good").click()
        expect(page.get_by_role("status")).to_contain_text("Thank you")
    assert len(feedback.load(db, PROJECT)) == before + 1


def test_twenty_questions_take_one_key_each(served: tuple[str, Lived], browser: Browser, db: Database, tmp_path: Path) -> None:
    url, lived = served
    keys = "1at2bnt1an" * 2  # a and 1, b and 2 mean the same
    meant = {"1": "first", "a": "first", "2": "second", "b": "second", "t": "tie", "n": "both bad"}
    with visiting(browser) as page:
        named(page, url, "Ada")
        with page.expect_navigation():
            page.get_by_role("link", name="Begin").click()
        page.screenshot(path=tmp_path / "pages-review.png")
        for key in keys:
            with page.expect_navigation():
                page.keyboard.press(key)
        expect(page.get_by_text("20 of 20 reviewed by you")).to_be_visible()
        expect(page.get_by_role("heading", name="What reviewers say")).to_be_visible()
    pairs = reviews.load_round(db, PROJECT, lived.decision.id).pairs
    votes = {vote.item_id: vote for vote in reviews.votes_of(db, PROJECT, lived.decision.id) if vote.voter == "Ada"}
    assert len(pairs) == len(keys) == 20
    for pair, key in zip(pairs, keys, strict=True):
        vote = votes[pair.item_id]
        first, second = ("champion", "challenger") if vote.champion_first else ("challenger", "champion")
        assert vote.verdict == {"first": first, "second": second}.get(meant[key], meant[key])


def test_a_third_person_settles_what_two_see_differently(served: tuple[str, Lived], browser: Browser, db: Database) -> None:
    url, lived = served
    for name, key in (("Bea", "t"), ("Col", "1")):
        with visiting(browser) as page:
            named(page, url, name)
            page.goto(f"{url}/review/{lived.decision.id}/20")
            with page.expect_navigation():
                page.keyboard.press(key)
    with visiting(browser) as page:
        named(page, url, "Dot")
        with page.expect_navigation():
            page.get_by_role("link", name="Question 20", exact=True).click()
        with page.expect_navigation():
            page.keyboard.press("t")
        expect(page.get_by_text("No question waits for you")).to_be_visible()
    item = reviews.load_round(db, PROJECT, lived.decision.id).pairs[-1].item_id
    votes = [vote for vote in reviews.votes_of(db, PROJECT, lived.decision.id) if vote.item_id == item]
    assert [vote.voter for vote in votes if vote.settles] == ["Dot"] and reviews.settled(votes) == "tie"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_dashboard_and_lineage_show_their_plots_in_light_and_dark_and_fit_the_window(
    served: tuple[str, Lived], browser: Browser, scheme: Literal["light", "dark"], width: int, tmp_path: Path
) -> None:
    url, lived = served
    with visiting(browser, width, scheme) as page:
        for path, plots in (("/dashboard", 3), (f"/lineage/{lived.adapter.id}", 1)):
            page.goto(url + path)
            assert page.locator("svg[role=img]:visible").count() == plots
            line = page.locator("svg[role=img]:visible path[stroke^='var(']").first
            accent = line.evaluate("path => getComputedStyle(path).stroke")
            assert accent.startswith("rgb") and accent != "rgb(0, 0, 0)"
            light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 250)"
            assert light == (scheme == "light")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=tmp_path / f"pages{path.replace('/', '-')}.png", full_page=True)
        page.goto(f"{url}/dashboard")
        page.get_by_role("link", name="72.0%", exact=True).click()
        expect(page.get_by_text("The same questions, both Systems")).to_be_visible()


def test_the_scripts_of_a_drift_report_run_apart_from_the_pages(served: tuple[str, Lived], browser: Browser) -> None:
    url, _ = served
    with visiting(browser) as page:
        page.goto(f"{url}/dashboard")
        page.get_by_role("link", name="Evidently report").click()
        expect(page).to_have_title("ran")
        assert page.evaluate("self.origin") == "null"


def test_keys_and_labels_of_forms_are_told_to_who_cannot_see_them(served: tuple[str, Lived], browser: Browser) -> None:
    url, lived = served
    with visiting(browser) as page:
        named(page, url, "Eli")
        for path in ("/", "/review", f"/review/{lived.decision.id}/1", "/review/labels?document=birch.md", "/dashboard"):
            page.goto(url + path)
            unnamed = page.evaluate(
                "[...document.querySelectorAll('input:not([type=hidden]), textarea, select, button, progress')]"
                ".filter(one => !(one.labels && one.labels.length) && !one.innerText.trim() && !one.ariaLabel).length"
            )
            assert unnamed == 0
            assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
            assert len(ids) == len(set(ids))
