"""A person's word on a promotion: asked once, answered once, kept; everything else leaves the champion where it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from champions import Project, snapshot_of
from typer.testing import CliRunner, Result

from csift import approvals, cycles, registry
from csift.db import Database
from csift.db.base import now
from csift.exceptions import CycleRunning, GateError
from csift.leases import Lease, cycle_lease, hold
from csift.overview import read_status
from csift.promotion import replay
from csift.reports.decision import page_key, render_decision
from csift.reports.status import status_json
from csift.schemas import ApprovalAnswer, CycleState, PromotionDecision, Verdict
from csift.storage import LocalStore
from flows.cli import app
from flows.cli import champion as commands
from tasks.collaborators import store as common_store

assert commands  # registers the command
OVER = 1e-9  # hours; over before anybody looks
NIGHT = datetime(2026, 11, 22, 2, tzinfo=UTC)


@dataclass
class Gate:
    """A project whose champion is System 1, with a night that found System 2 better."""

    made: Project
    store: LocalStore
    cycle: str

    def ask(self, hours: float = 8) -> PromotionDecision:
        """The night's decision, once approval of it was asked for."""
        decision = self.made.decision(self.made.system(1), self.made.system(2))
        cycles.note(self.made.db, self.cycle, decision_id=decision.id)
        with hold(self.made.db, f"{self.made.name} at night") as lease:
            asked, _ = approvals.ask(self.made.db, self.store, decision.id, hours, lease)
        return asked

    def answer(self, decision: PromotionDecision, said: ApprovalAnswer, project: str | None = None) -> PromotionDecision:
        """Says something to a decision."""
        return approvals.answer(self.made.db, self.store, project or self.made.name, decision.id, said)

    def reason(self) -> str:
        """What the night's cycle says of itself."""
        return cycles.load(self.made.db, self.cycle).reason

    def page(self, decision: PromotionDecision) -> str:
        """The decision's page in the store."""
        return self.store.get(page_key(decision.id)).decode()


@pytest.fixture
def gate(db: Database, project: str, tmp_path: Path) -> Iterator[Gate]:
    snapshot_id = snapshot_of(db, project, tmp_path)
    with hold(db, project) as lease:
        made = Project(db, project, snapshot_id, lease)
        registry.bootstrap_champion(db, project, made.system(1))
        cycle = cycles.begin(db, project, "schedule", NIGHT)
        cycles.note(db, cycle, state=CycleState.COMPLETED, reason="better")
        yield Gate(made, LocalStore(tmp_path / "store"), cycle)


def yes(by: str = "Ada", note: str = "read it all") -> ApprovalAnswer:
    return ApprovalAnswer(approved=True, by=by, note=note, at=now())


def no(by: str = "Grace", note: str = "") -> ApprovalAnswer:
    return ApprovalAnswer(approved=False, by=by, note=note, at=now())


def test_a_yes_moves_the_champion_and_who_said_it_is_kept(gate: Gate) -> None:
    asked, said = gate.ask(), yes()
    assert gate.made.champion_k() == 1

    approved = gate.answer(asked, said)

    assert gate.made.champion_k() == 2
    move = registry.champion_log(gate.made.db, gate.made.name)[0]
    assert (move.kind, move.decision_id) == ("promotion", asked.id)
    kept = registry.load(gate.made.db, PromotionDecision, asked.id)
    assert kept == approved
    assert kept.approval and kept.approval.answer == said
    assert "approved by Ada on 2" in gate.reason() and "“read it all”" in gate.reason()
    assert "It was approved by Ada" in gate.page(asked)


def test_what_people_said_is_no_part_of_the_verdict_that_is_replayed(gate: Gate) -> None:
    decided = replay(gate.made.decision(gate.made.system(1), gate.made.system(2)))
    assert decided.approval is None
    asked = decided.model_copy(update={"approval": gate.ask().approval})
    assert replay(asked) == asked


def test_a_no_keeps_the_champion_for_good(gate: Gate) -> None:
    asked = gate.ask()
    gate.answer(asked, no())
    with pytest.raises(GateError, match="was answered already: refused by Grace on"):
        gate.answer(asked, yes())
    assert gate.ask().approval == registry.load(gate.made.db, PromotionDecision, asked.id).approval  # nobody is asked again
    assert gate.made.champion_k() == 1
    assert "refused by Grace" in gate.reason() and "the champion stays" in gate.reason()


def test_the_same_answer_again_is_nothing(gate: Gate) -> None:
    asked, said = gate.ask(), yes()
    assert gate.answer(asked, said) == gate.answer(asked, said)
    assert gate.made.log() == [("bootstrap", 1), ("promotion", 2)]
    with pytest.raises(GateError, match="was answered already: approved by Ada"):
        gate.answer(asked, yes("Grace"))


def test_the_page_and_status_say_how_to_approve(gate: Gate) -> None:
    asked = gate.ask()
    assert f"awaits approval until {asked.approval.until:%Y-%m-%d %H:%M} UTC" in gate.page(asked)  # type: ignore[union-attr]
    assert f"csift promote {asked.id}" in gate.page(asked)
    awaiting = approvals.awaiting(gate.made.db, gate.made.name)
    assert awaiting == (asked,)
    assert "approval" not in render_decision(asked.model_copy(update={"approval": None}))


def test_a_run_that_was_killed_asks_once_and_after_the_deadline_anew(gate: Gate) -> None:
    assert not gate.ask(OVER).approval.open(now())  # type: ignore[union-attr]
    again = gate.ask(8)
    assert again.approval and again.approval.open(now())
    assert gate.ask(20) == again


def test_past_the_deadline_nothing_is_promoted_and_the_cycle_says_so(gate: Gate) -> None:
    asked = gate.ask(OVER)
    assert approvals.awaiting(gate.made.db, gate.made.name) == ()
    with pytest.raises(GateError, match=r"awaited approval until .*, so the champion stays; another \[gate\] approval_hours"):
        gate.answer(asked, yes())
    approvals.close_expired(gate.made.db, gate.made.name)
    assert "nobody approved it until" in gate.reason() and "the champion stays" in gate.reason()
    assert gate.made.champion_k() == 1


def test_an_answer_counts_from_when_it_was_given(gate: Gate) -> None:
    said = yes()
    asked = gate.ask(OVER)
    gate.answer(asked, said)
    assert gate.made.champion_k() == 2


def test_another_champion_meanwhile_is_left_alone_and_both_are_named(gate: Gate) -> None:
    asked, said = gate.ask(), yes()
    gate.made.promote(gate.made.system(1), gate.made.system(3))
    assert approvals.awaiting(gate.made.db, gate.made.name) == ()

    for _ in range(2):  # a second time, too: by a run that was killed
        with pytest.raises(GateError, match=f"nothing was moved: .*approved by Ada.*but {gate.made.system(3).id} had become"):
            gate.answer(asked, said)

    assert gate.made.log() == [("bootstrap", 1), ("promotion", 3)]
    assert f"but {gate.made.system(3).id} had become the champion" in gate.reason()
    assert "had become the champion" in gate.page(asked)


def test_a_champion_is_the_same_over_a_newer_corpus(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "newer").mkdir()
    gate.made.snapshot_id = snapshot_of(gate.made.db, f"{gate.made.name}, again", tmp_path / "newer")
    asked = gate.ask()  # both answered over the newer corpus; the pointer names System 1 over the older one
    gate.answer(asked, yes())
    champion = registry.champion(gate.made.db, gate.made.name)
    assert champion and champion.id == asked.evidence.challenger_system_id


def test_of_another_project_or_not_asked_for_is_refused(gate: Gate) -> None:
    asked = gate.ask()
    with pytest.raises(GateError, match=f"is of project {gate.made.name}, not of other"):
        gate.answer(asked, yes(), "other")
    held = gate.made.decision(gate.made.system(1), gate.made.system(3), Verdict.HOLD)
    with pytest.raises(GateError, match="is HOLD; only PROMOTE can await approval"):
        gate.answer(held, yes())
    unasked = gate.made.decision(gate.made.system(1), gate.made.system(4))
    with pytest.raises(GateError, match=r"does not await approval: nobody was asked"):
        gate.answer(unasked, yes())
    gate.made.promote(gate.made.system(1), gate.made.system(4))
    with pytest.raises(GateError, match=r"does not await approval: it moved the champion on 2"):
        gate.answer(unasked, yes())
    with pytest.raises(GateError, match="there is no PromotionDecision decision-none"):
        approvals.answer(gate.made.db, gate.store, gate.made.name, "decision-none", yes())


def test_only_promote_is_asked_about_and_only_by_who_holds_the_lease(gate: Gate) -> None:
    db = gate.made.db
    held = gate.made.decision(gate.made.system(1), gate.made.system(3), Verdict.HOLD)
    with pytest.raises(GateError, match="is HOLD; only PROMOTE can be approved"):
        approvals.ask(db, gate.store, held.id, 8, gate.made.lease)
    better = gate.made.decision(gate.made.system(1), gate.made.system(2))
    with pytest.raises(GateError, match="passed to another run"):
        approvals.ask(db, gate.store, better.id, 8, Lease(gate.made.lease.name, gate.made.lease.token - 1))


def test_while_a_cycle_goes_on_the_champion_stays(gate: Gate) -> None:
    asked = gate.ask()
    with hold(gate.made.db, cycle_lease(gate.made.name)), pytest.raises(CycleRunning, match="is already running: held by"):
        gate.answer(asked, yes())
    assert gate.made.champion_k() == 1
    gate.answer(asked, yes())


# --- the command ----------------------------------------------------------------------------------------------------------


def csift(gate: Gate, folder: Path, *arguments: str) -> Result:
    toml = folder / "csift.toml"
    toml.write_text(
        f'project = "{gate.made.name}"\ncorpus = {{ sources = [{{ location = "corpus" }}] }}\n'
        'drift = { reference = "t.jsonl", current = "t.jsonl" }\n'
    )
    return CliRunner().invoke(app, [*arguments, "--config", str(toml)])


def test_the_command_promotes_and_says_what_it_did(gate: Gate, tmp_path: Path) -> None:
    asked = gate.ask()
    status = csift(gate, tmp_path, "status")
    assert f"{asked.id} awaits approval until" in " ".join(status.stdout.split())
    told = status_json(read_status(gate.made.db, gate.made.name))
    assert [entry["decision"] for entry in told["awaiting"]] == [asked.id]

    done = csift(gate, tmp_path, "promote", asked.id, "--by", " Ada ", "--note", "go")

    assert done.exit_code == 0, done.stderr
    assert f"champion is {asked.evidence.challenger_system_id}, in place of {gate.made.system(1).id} (move 2)" in done.stdout
    assert f"Approved by Ada; the decision: {common_store().uri(page_key(asked.id))}" in done.stdout
    assert gate.made.champion_k() == 2
    assert "awaits" not in csift(gate, tmp_path, "status").stdout


def test_the_command_refuses_with_one_line(gate: Gate, tmp_path: Path) -> None:
    asked = gate.ask(OVER)
    for decision, why in ((asked.id, "awaited approval until"), ("decision-none", "there is no PromotionDecision decision-none")):
        refused = csift(gate, tmp_path, "promote", decision, "--by", "Ada")
        assert refused.exit_code == 1
        assert refused.stdout == ""
        (line,) = refused.stderr.splitlines()
        assert line.startswith("csift: ") and why in line
    assert gate.made.champion_k() == 1
