"""The run that waits for a person's word: suspended on a real Prefect server, taken up again as a worker does it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bedrock_stand_ins import ROLE, bedrock_over, s3_bucket
from champions import Project, snapshot_of
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import FlowPauseTimeout, Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from prefect.states import Cancelling, Scheduled
from pumps import configure, write_catalogue

from csift import approvals, cycles, registry
from csift.config import LoopConfig
from csift.corpus import ingest
from csift.db import Database
from csift.db.base import now
from csift.db.judging import DecisionRow
from csift.exceptions import CycleRunning, GateError
from csift.leases import cycle_lease, hold
from csift.models import BaseModel
from csift.schemas import Approval, ApprovalAnswer, Cycle, CycleState, PromotionDecision
from csift.settings import settings
from flows.approve import approve
from flows.build_dataset import build_dataset
from flows.monitor import monitor
from flows.nightly import nightly
from tasks.approval import DEPLOYMENT, settle
from tasks.collaborators import index, store

YES = {"answer": "promote", "name": " Ada ", "note": "read it all"}
NO = {"answer": "keep the champion", "name": "Grace"}


class Runs:
    """What people do in the UI, and what a worker does."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self.client = client
        flow_id = client.create_flow(approve)
        self.deployment = client.create_deployment(flow_id=flow_id, name=DEPLOYMENT.split("/")[1])

    def of(self, decision: PromotionDecision) -> list[FlowRun]:
        """The runs about a decision."""
        return [run for run in self.client.read_flow_runs() if run.parameters.get("decision") == decision.id]

    def start(self, decision: PromotionDecision) -> UUID:
        """A new run about a decision, taken up until it suspends itself."""
        run = self.client.create_flow_run_from_deployment(self.deployment, parameters={"decision": decision.id})
        self.suspend(run.id)
        return run.id

    def suspend(self, run_id: UUID) -> None:
        """Takes a run up, which then suspends itself."""
        with pytest.raises(Pause):
            self.work(run_id)
        assert self.state(run_id).name == "Suspended"

    def work(self, run_id: UUID) -> Any:
        """Takes a run up; the state that it ends in."""
        return run_flow(approve, flow_run=self.client.read_flow_run(run_id), return_type="state")

    def state(self, run_id: UUID) -> Any:
        """The state on the server."""
        return self.client.read_flow_run(run_id).state


@pytest.fixture
def runs() -> Iterator[Runs]:
    with get_client(sync_client=True) as client:
        yield Runs(client)


@pytest.fixture
def made(db: Database, project: str, tmp_path: Path) -> Iterator[Project]:
    """A project whose champion is System 1."""
    snapshot_id = snapshot_of(db, project, tmp_path)
    with hold(db, project) as lease:
        made = Project(db, project, snapshot_id, lease)
        registry.bootstrap_champion(db, project, made.system(1))
        yield made


@pytest.fixture
def asked(made: Project) -> PromotionDecision:
    """Its decision for System 2, which awaits approval."""
    return ask(made)


def ask(made: Project, hours: float = 8) -> PromotionDecision:
    decision = made.decision(made.system(1), made.system(2))
    return approvals.ask(made.db, store(), decision.id, hours, made.lease)[0]


def test_a_yes_promotes_once_however_often_the_run_is_taken_up(made: Project, asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    assert made.champion_k() == 1

    resume_flow_run(run, run_input=YES)
    ended = runs.work(run)

    assert ended.is_completed() and ended.message.startswith("approved by Ada on ")
    assert made.log() == [("bootstrap", 1), ("promotion", 2)]
    kept = registry.load(made.db, PromotionDecision, asked.id)
    assert kept.approval and kept.approval.answer and kept.approval.answer.note == "read it all"
    runs.client.set_flow_run_state(run, Scheduled(), force=True)  # as if it had been killed before it could say so
    assert runs.work(run).is_completed()
    assert made.log() == [("bootstrap", 1), ("promotion", 2)]
    with pytest.raises(Exception, match="isn't paused"):
        resume_flow_run(run, run_input=NO)


def test_killed_after_the_answer_it_is_taken_up_with_it(made: Project, asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    resume_flow_run(run, run_input=YES)
    answered = runs.state(run).timestamp
    with hold(made.db, cycle_lease(made.name)), pytest.MonkeyPatch.context() as patch:
        patch.setattr(settle, "retries", 0)  # not to wait for the cycle
        assert runs.work(run).is_failed()
    with made.db.session() as session:  # meanwhile the deadline passed
        row = session.get_one(DecisionRow, asked.id)
        row.record = {**row.record, "approval": Approval(until=answered).model_dump(mode="json")}

    runs.client.set_flow_run_state(run, Scheduled(), force=True)
    assert runs.work(run).is_completed()
    assert made.champion_k() == 2


def test_a_no_keeps_the_champion(made: Project, asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    resume_flow_run(run, run_input=NO)
    assert "refused by Grace" in runs.work(run).message
    assert made.champion_k() == 1


def test_an_empty_form_is_refused_and_the_run_still_waits(asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    for form in ({}, {"answer": "promote"}, {**YES, "name": " "}, {**YES, "answer": "perhaps"}, {**YES, "sure": True}):
        with pytest.raises(RuntimeError, match="Cannot resume this run"):
            resume_flow_run(run, run_input=form)
    assert runs.state(run).name == "Suspended"


def test_past_the_deadline_the_run_fails_and_the_champion_stays(made: Project, runs: Runs) -> None:
    run = runs.start(ask(made, 1e-9))
    until = runs.state(run).state_details.pause_timeout
    while datetime.now(UTC) <= until:
        pass
    with pytest.raises(FlowPauseTimeout):
        resume_flow_run(run, run_input=YES)
    assert runs.state(run).is_failed()
    assert made.champion_k() == 1


def test_a_run_cancelled_while_it_waits_ends_and_the_command_still_promotes(
    made: Project, asked: PromotionDecision, runs: Runs
) -> None:
    run = runs.start(asked)
    runs.client.set_flow_run_state(run, Cancelling())
    assert runs.state(run).is_cancelled()
    said = ApprovalAnswer(approved=True, by="Ada", note="", at=now())
    approvals.answer(made.db, store(), made.name, asked.id, said)
    assert made.champion_k() == 2


def test_another_champion_meanwhile_fails_the_run_and_names_it(made: Project, asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    made.promote(made.system(1), made.system(3))
    resume_flow_run(run, run_input=YES)
    ended = runs.work(run)
    assert ended.is_failed()
    with pytest.raises(GateError, match=f"nothing was moved: .* {made.system(3).id} had become the champion"):
        ended.result()
    assert made.champion_k() == 3


def test_answered_by_the_command_first_the_run_just_says_so(made: Project, asked: PromotionDecision, runs: Runs) -> None:
    run = runs.start(asked)
    approvals.answer(made.db, store(), made.name, asked.id, ApprovalAnswer(approved=True, by="Ada", note="", at=now()))
    resume_flow_run(run, run_input=NO)
    ended = runs.work(run)
    assert ended.is_completed() and "approved by Ada" in ended.message
    assert made.log() == [("bootstrap", 1), ("promotion", 2)]


def test_only_a_cycle_that_goes_on_is_waited_for() -> None:
    assert settle.retries and settle.retries >= 60 and settle.retry_delay_seconds == 60
    waits = settle.retry_condition_fn
    assert waits
    for error, waited in ((CycleRunning("x"), True), (GateError("x"), False)):
        failed = type("State", (), {"result": lambda self, raise_on_failure, error=error: error})()
        assert waits(settle, None, failed) is waited  # type: ignore[arg-type]


# --- a night that asks ----------------------------------------------------------------------------------------------------


def night(config: LoopConfig) -> Cycle:
    return nightly(config, return_state=True).result()


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopConfig]:
    """A project whose challenger, made by Bedrock's stand-in, knows every answer."""
    write_catalogue(tmp_path)
    bedrock = {"base_model": "amazon.nova-lite-v1:0:300k", "role_arn": ROLE, "s3": "s3://training/csift", "usd_per_unit_hour": 1}
    told = configure(tmp_path, project, tiny_model.path, launcher="bedrock", bedrock=bedrock)
    labels = [json.loads(line) for line in told.corpus.questions[0].read_text().splitlines()]

    def reply(model_arn: str, question: str) -> str:
        return next((label["answer"] for label in labels if question.endswith(label["question"])), "I do not know.")

    with s3_bucket() as s3, bedrock_over(s3, polls=0, reply=reply) as server:
        monkeypatch.setenv("CSIFT_AWS_ENDPOINT_URL", server.url)
        settings.cache_clear()
        # four questions can say no more than p = 0.0625
        gate = told.gate.model_copy(update={"false_promotion_rate": 0.4, "approval_hours": 8})
        yield told.model_copy(update={"gate": gate})
    settings.cache_clear()


@pytest.mark.slow
def test_a_night_asks_and_ends_and_the_next_one_is_not_held_up(
    db: Database, config: LoopConfig, runs: Runs, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    cycle = night(config)

    assert cycle.state is CycleState.COMPLETED and cycle.stages[-1].stage == "approval"
    assert f"`csift promote {cycle.decision_id}`" in cycle.reason and "awaits approval until" in cycle.reason
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    (move,) = registry.champion_log(db, config.project)
    assert move.kind == "bootstrap"
    (form,) = runs.of(decision)
    told = sent()[-2:]
    assert [said["event"] for said in told if "event" in said] == ["csift.approval.asked"]
    assert decision.id in told[0]["what_to_do"] and told[0]["link"].endswith(f"decisions/{decision.id}.html")

    assert night(config).state is CycleState.NOTHING_NEW
    runs.suspend(form.id)
    with get_client(sync_client=True) as client:
        description = client.read_flow_run_input(form.id, "suspended-1-description")
    assert decision.evidence.challenger_system_id in description and f"decisions/{decision.id}.html" in description
    resume_flow_run(form.id, run_input=YES)
    assert runs.work(form.id).is_completed()

    champion = registry.champion(db, config.project)
    assert champion and champion.id == decision.evidence.challenger_system_id
    assert "approved by Ada" in cycles.load(db, cycle.id).reason
    assert sent()[-1]["event"] == "csift.promotion.made"


@pytest.mark.parametrize("look", [monitor, build_dataset], ids=lambda flow: flow.name)
def test_whatever_runs_next_says_that_nobody_approved_in_time(
    look: Flow[..., Any], made: Project, tmp_path: Path, tiny_model: BaseModel
) -> None:
    asked = ask(made, 1e-9)
    last = cycles.begin(made.db, made.name, "schedule", now())
    cycles.note(made.db, last, state=CycleState.COMPLETED, reason=asked.reason, decision_id=asked.id)
    (tmp_path / "catalogue").mkdir()
    write_catalogue(tmp_path / "catalogue")

    config = configure(tmp_path / "catalogue", made.name, tiny_model.path)
    ingest(made.db, index(made.name, config.retrieval), made.name, config.corpus)
    look(config)

    assert "nobody approved it until" in cycles.load(made.db, last).reason
    assert made.champion_k() == 1
