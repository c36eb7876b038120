"""The loop with Bedrock in place of training: a real Prefect server and Postgres, Bedrock and S3 by their stand-ins."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bedrock_stand_ins import ROLE, at_once, bedrock_over, connect, quote, s3_bucket
from pumps import configure, write_catalogue

from bench.bedrock_server import BedrockServer
from csift import cycles, registry
from csift.bedrock import provision
from csift.config import LoopConfig
from csift.db import Database
from csift.exceptions import ConfigError
from csift.models import BaseModel
from csift.overview import read_status
from csift.reports.status import status_json
from csift.schemas import Cycle, CycleState, PromotionDecision
from csift.settings import settings
from flows.nightly import nightly
from tasks.progress import show_in

PRICE = "US$ 41.00 an hour until it is deleted"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_bucket() as client:
        yield client


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    """A project whose challengers are made by Bedrock."""
    write_catalogue(tmp_path)
    bedrock = {
        "base_model": "amazon.nova-lite-v1:0:300k",
        "role_arn": ROLE,
        "s3": "s3://training/csift",
        "units": 2,
        "usd_per_unit_hour": 20.5,
    }
    made = configure(tmp_path, project, tiny_model.path, launcher="bedrock", bedrock=bedrock)
    # four questions can say no more than p = 0.0625
    return made.model_copy(update={"gate": made.gate.model_copy(update={"false_promotion_rate": 0.4})})


@pytest.fixture
def server(s3: Any, config: LoopConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockServer]:
    """Bedrock, whose models know the catalogue; nothing takes time there."""

    def reply(model_arn: str, question: str) -> str:
        labels = [json.loads(line) for line in config.corpus.questions[0].read_text().splitlines()]
        return next((label["answer"] for label in labels if question.endswith(label["question"])), "I do not know.")

    with bedrock_over(s3, polls=0, reply=reply) as started:
        monkeypatch.setenv("CSIFT_AWS_ENDPOINT_URL", started.url)
        settings.cache_clear()
        yield started
    settings.cache_clear()


def run(config: LoopConfig) -> Cycle:
    return nightly(config, return_state=True).result()


def change_a_training_label(config: LoopConfig) -> None:
    labels = config.corpus.questions[0]
    labels.write_text(labels.read_text().replace("How heavy is the Alder pump?", "What does the Alder pump weigh?"))


def change_an_eval_document(config: LoopConfig) -> None:
    birch = Path(config.corpus.sources[0].location) / "birch.md"
    birch.write_text(birch.read_text().replace("4 kg", "5 kg"))


def served(server: BedrockServer) -> list[str]:
    """The models that throughput was made for."""
    return [params["modelId"] for name, params in server.received if name == "CreateProvisionedModelThroughput"]


def with_bedrock(config: LoopConfig, **told: Any) -> LoopConfig:
    assert config.training.bedrock
    bedrock = config.training.bedrock.model_copy(update=told)
    return config.model_copy(update={"training": config.training.model_copy(update={"bedrock": bedrock})})


def test_bedrocks_model_is_judged_promoted_and_reported_like_any_other(
    db: Database, config: LoopConfig, server: BedrockServer
) -> None:
    shown: list[tuple[str, int, bool]] = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        shown.append((note, len(served(server)), stage == "serve"))

    with show_in(progress):
        cycle = run(config)

    assert cycle.state is CycleState.COMPLETED
    assert {stage.state for stage in cycle.stages} == {"completed"}
    name = next(stage.record_id for stage in cycle.stages if stage.stage == "train") or ""
    assert [point.loss for point in registry.load_losses(db, name)] == [2.5, 1.5, 1.0]
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    champion = registry.champion(db, config.project)
    assert decision.verdict == "PROMOTE"
    assert champion and champion.id == decision.evidence.challenger_system_id
    assert champion.custom_model in server.custom_models

    page = Path(cycle.report_uri or "").read_text()
    assert "sft: 3 steps" in page and "Of 120 general questions the challenger got" in page
    told = status_json(read_status(db, config.project))
    assert (told["lineage"]["custom_model"], told["retention"]["failures"]) == (name, 0)
    assert told["lineage"]["dataset"] == next(stage.record_id for stage in cycle.stages if stage.stage == "dataset")

    serving = [(note, made) for note, made, serve in shown if serve]
    assert PRICE in serving[0][0] and serving[0][1] == 0  # before anything was made
    assert len(server.jobs) == len(served(server)) == 1  # one throughput for the catalogue's and the general questions
    assert server.throughputs == {}
    (asked,) = [params for operation, params in server.received if operation == "CreateModelCustomizationJob"]
    assert asked["trainingDataConfig"]["s3Uri"].startswith("s3://training/csift/data/")


def test_the_next_night_pays_for_what_is_new_alone(db: Database, config: LoopConfig, server: BedrockServer) -> None:
    run(config)
    champion = registry.champion(db, config.project)
    assert champion
    asked = server.count("Converse")
    left = provision(connect(server), quote(registry.custom_model_of(db, champion)[0], 2, None, 20.5), at_once)

    again = run(config.model_copy(update={"gate": config.gate.model_copy(update={"margin": 0.04})}))
    assert again.reason == "the champion was made from these inputs already"
    assert left.arn not in server.throughputs  # of a run that was killed
    assert (len(server.jobs), len(served(server)), server.count("Converse")) == (1, 2, asked)

    change_a_training_label(config)
    cycle = run(config)
    assert cycle.state is CycleState.COMPLETED
    assert len(server.jobs) == 2
    assert served(server)[2:] == [list(server.custom_models)[-1]]  # what the champion answers is known
    assert server.throughputs == {}


def test_a_champion_of_bedrocks_is_served_when_the_corpus_changed(
    db: Database, config: LoopConfig, server: BedrockServer
) -> None:
    run(config)
    champion = registry.champion(db, config.project)
    assert champion
    change_an_eval_document(config)
    change_a_training_label(config)
    synthesis = config.synthesis.model_copy(update={"preferences": 2})

    cycle = run(config.model_copy(update={"synthesis": synthesis}))

    assert cycle.state is CycleState.COMPLETED
    challenger = list(server.custom_models)[-1]
    assert served(server)[1:] == [champion.custom_model, champion.custom_model, challenger]  # for preferences, and judged
    assert server.throughputs == {}
    assert status_json(read_status(db, config.project))["retention"]["questions"] == 120


def test_ctrl_c_again_and_again_and_nothing_is_paid_twice(db: Database, config: LoopConfig, server: BedrockServer) -> None:
    def interrupting(stage: str) -> Callable[..., None]:
        """Stops the run while the job goes on, while a throughput is made, or while it answers."""

        def progress(at: str, done: int, total: int, note: str = "") -> None:
            server.polls = 1 if stage == at == "serve" else server.polls  # of the throughput that is made next
            if at == stage and (stage == "train" or (server.throughputs and (stage == "serve" or done))):
                server.polls = 0
                raise KeyboardInterrupt

        return progress

    server.polls = 1
    for stage in ("train", "serve", "judge challenger"):
        with show_in(interrupting(stage)), pytest.raises(KeyboardInterrupt):
            nightly(config)
        assert server.throughputs == {}
        cut = cycles.recent(db, config.project, 1)[0]
        assert (cut.state, cut.stages[-1].state) == (CycleState.INTERRUPTED, "interrupted")
    cycle = run(config)

    assert cycle.state is CycleState.COMPLETED
    assert len(server.jobs) == 1
    chats = [json.dumps(params["messages"]) for name, params in server.received if name == "Converse"]
    assert len(chats) == len(set(chats))
    assert server.throughputs == {}


def test_a_commitment_is_kept_and_serves_the_next_model(db: Database, config: LoopConfig, server: BedrockServer) -> None:
    config = with_bedrock(config, commitment="OneMonth")
    notes: list[str] = []
    with show_in(lambda stage, done, total, note="": notes.append(note)):
        run(config)
    assert any("for one month, up to US$ 30,504.00; it cannot be deleted earlier and renews by itself" in note for note in notes)
    change_a_training_label(config)
    run(config)

    (kept,) = server.throughputs.values()
    assert len(server.jobs) == 2
    assert kept.model_arn == list(server.custom_models)[-1]
    assert len(served(server)) == 1


def test_a_job_that_failed_fails_the_cycle_and_costs_no_throughput(
    db: Database, config: LoopConfig, server: BedrockServer
) -> None:
    server.job_failure = "Row 7 has no assistant turn."
    with pytest.raises(Exception, match=r"Row 7 has no assistant turn; correct .*attempt = 2"):
        nightly(config)
    assert cycles.recent(db, config.project, 1)[0].state is CycleState.FAILED
    assert served(server) == []


def test_a_model_without_its_curve_is_judged_and_without_a_price_none_is_served(
    config: LoopConfig, server: BedrockServer
) -> None:
    server.on_completed = None
    cycle = run(config)
    assert cycle.state is CycleState.COMPLETED
    assert "No loss curve is stored" in Path(cycle.report_uri or "").read_text()

    change_an_eval_document(config)
    training = config.training.model_copy(update={"launcher": "inprocess", "bedrock": None})
    with pytest.raises(ConfigError, match=r"must be served to answer, which costs by the hour; .*\[training\.bedrock\]"):
        nightly(config.model_copy(update={"training": training}))
    assert len(served(server)) == 1
