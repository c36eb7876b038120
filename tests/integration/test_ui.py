"""What a person does in Prefect's UI, in a real browser: a run with a changed parameter, and a word on a promotion.

The screenshots stay in pytest's temporary folder; docs/ui-*.png are copies of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import browsing
from playwright.sync_api import Locator, Page, expect
from pumps import configure, toml_of, write_catalogue
from served import Served, on_data, serving, until

from csift.models import BaseModel

pytestmark = pytest.mark.slow
HEIGHT = 900
PATIENCE = 120_000  # milliseconds, on a busy machine

# A decision that awaits approval for so many hours, of a challenger that shows so many chunks.
ASKED = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, {tests!r})
from champions import Project, snapshot_of
from samples import sample_decision
from csift import approvals, registry
from csift.db import database
from csift.leases import hold
from tasks.collaborators import store
with hold(database(), "a night") as lease:
    made = Project(database(), "gate", snapshot_of(database(), "gate", Path(tempfile.mkdtemp())), lease)
    base = registry.bootstrap_champion(database(), "gate", made.system(1))
    ids = {{"champion_system_id": base.id, "challenger_system_id": made.system({k}).id}}
    evidence = sample_decision().evidence.model_copy(update={{"project": "gate", **ids}})
    decision = registry.save_decision(database(), sample_decision(evidence=evidence))
    approvals.ask(database(), store(), decision.id, {hours}, lease)
print(json.dumps(decision.id))
"""
CHAMPION = """
import json
from csift.db import database
from csift.registry import champion, champion_log
move = champion_log(database(), "gate")[0]
print(json.dumps([champion(database(), "gate").k, move.kind, move.decision_id]))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: BaseModel) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    write_catalogue(folder)
    (folder / "small.toml").write_text(toml_of(configure(folder, "small", tiny_model.path)))
    with serving(folder) as up:
        yield up


@pytest.fixture
def page() -> Iterator[Page]:
    with browsing(1100, HEIGHT) as page:
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page


def field(page: Page, title: str) -> Locator:
    """A field of a form, with its title, description and control."""
    return page.locator(".schema-form-property").filter(has=page.get_by_text(title, exact=True)).last


def test_a_bad_value_is_refused_and_a_changed_one_runs_to_its_end(served: Served, page: Page, tmp_path: Path) -> None:
    page.goto(f"{served.url}/deployments")
    page.locator("a.deployment-list__name", has_text="nightly").click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()

    project = field(page, "Project")
    expect(project).to_contain_text("Name of the project")
    expect(project.locator("textarea")).to_have_value("small")
    expect(field(page, "Format (Optional)")).to_contain_text("files: one document a file or row; cuad: CUAD's own layout")
    chunks = field(page, "Chunks per question (Optional)")
    expect(chunks).to_contain_text("How many chunks the model sees")
    expect(chunks.locator("input")).to_have_value("3")
    page.screenshot(path=tmp_path / "ui-form.png")

    chunks.locator("input").fill("99")
    page.get_by_role("button", name="Submit").click()
    refused = page.get_by_text("'config.retrieval.k'. Failure reason: 99 is greater than the maximum of 20").first
    expect(refused).to_be_visible()
    until(lambda: refused.bounding_box() or {"y": HEIGHT}, lambda box: box["y"] < HEIGHT - 90)  # it slides in from below
    page.screenshot(path=tmp_path / "ui-refused.png")
    assert [run for run in served.api.read_flow_runs() if not run.auto_scheduled] == []

    chunks.locator("input").fill("2")
    page.get_by_role("button", name="Submit").click()
    (run,) = until(lambda: [run for run in served.api.read_flow_runs() if not run.auto_scheduled], bool)
    assert run.parameters["config"]["retrieval"]["k"] == 2
    page.goto(f"{served.url}/runs/flow-run/{run.id}")
    served.until(run, lambda seen: seen.state.is_final())
    expect(page.locator(".p-state-badge, .state-badge").get_by_text("Completed").first).to_be_visible()
    page.screenshot(path=tmp_path / "ui-run.png")


def test_a_promotion_waits_for_a_person_and_fails_at_its_deadline(served: Served, page: Page, tmp_path: Path) -> None:
    def asked(k: int, hours: float) -> str:
        return str(on_data(served.data, ASKED.format(tests=str(Path(__file__).parents[1]), k=k, hours=hours)))

    late = served.until(served.run("approve/approve", decision=asked(2, 1e-9)), lambda seen: seen.state.is_final())
    assert (late.state.name, late.state.message) == ("Failed", "The flow was paused and never resumed.")

    decision = asked(3, 8)
    run = served.until(served.run("approve/approve", decision=decision), lambda seen: seen.state.name == "Suspended")

    page.goto(f"{served.url}/runs/flow-run/{run.id}")
    page.get_by_role("button", name="Resume").click()
    form = page.locator(".p-modal")
    expect(form).to_contain_text("become the champion?")
    expect(form).to_contain_text(f"decisions/{decision}.html")
    field(page, "Answer").locator(".p-select-button__control").press("ArrowDown")
    page.locator(".p-select-option__text").get_by_text("promote").click()
    field(page, "Your name").locator("textarea").fill("Ada")
    page.screenshot(path=tmp_path / "ui-approval.png")
    form.get_by_role("button", name="Submit").click()
    served.until(run, lambda seen: seen.state.is_completed())
    assert on_data(served.data, CHAMPION) == [3, "promotion", decision]
