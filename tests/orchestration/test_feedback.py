"""From an edit over HTTP to a preference pair, a decision, and the person's deletion: the loop with a server beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pumps import configure, toml_of, write_catalogue
from teachers import quantities
from typer.testing import CliRunner, Result

from bench.teacher_server import Answer, Reply, TeacherServer
from csift import registry
from csift.config import LoopConfig
from csift.dataset import load_origins, load_preferences, load_ratings
from csift.db import Database
from csift.models import BaseModel
from csift.schemas import Cycle, CycleState, DatasetVersion
from csift.serving.access import Doors, Queue, RateLimit
from csift.serving.answering import Champion
from csift.serving.answers import AnswerLog
from csift.serving.api import create_app
from csift.serving.asking import Server
from csift.serving.sessions import Sessions
from csift.serving.trying import Trying
from flows.cli import app, champion, dataset, feedback  # noqa: F401 - registers them
from flows.nightly import nightly
from tasks.collaborators import embedder, store
from tasks.serving import answerer

pytestmark = pytest.mark.slow
ALDER = "How heavy is the Alder pump?"


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel, monkeypatch: pytest.MonkeyPatch) -> LoopConfig:
    write_catalogue(tmp_path)
    told = configure(tmp_path, project, tiny_model.path)
    (tmp_path / "csift.toml").write_text(toml_of(told))
    monkeypatch.chdir(tmp_path)
    return told


@pytest.fixture
def http(db: Database, config: LoopConfig) -> Iterator[TestClient]:
    """`csift serve` of the project after its first night."""
    run(config)
    told: list[str] = []
    answers, people = AnswerLog(db, str, told.append), Queue(8)
    first = Champion(db, config.project, lambda system: answerer(config, system), told.append)
    trying = Trying(db, first, lambda system, pause: answerer(config, system, pause), people, str, told.append)
    server = Server(
        db=db, project=config.project, champion=first, trying=trying, answers=answers, queue=people, threads=8, scrub=str,
        doors=Doors(db, config.project, True, told.append), embedder=embedder(), rate=RateLimit(600),
        store=store(), sessions=Sessions(config.project),
    )  # fmt: skip
    with TestClient(create_app(server), base_url="http://localhost") as client:
        yield client
    answers.close()


def run(config: LoopConfig) -> Cycle:
    return nightly(config, return_state=True).result()


def ask(http: TestClient, project: str, question: str) -> str:
    asked = {"model": project, "messages": [{"role": "user", "content": question}]}
    return http.post("/v1/chat/completions", json=asked).json()["csift"]["answer_id"]


def csift(*arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.stderr
    return result


def learnt(db: Database, cycle: Cycle) -> DatasetVersion:
    """The dataset of a cycle."""
    id_ = next(stage.record_id for stage in cycle.stages if stage.stage == "dataset")
    return registry.load(db, DatasetVersion, id_ or "")


def test_an_edit_becomes_a_pair_that_names_it_and_after_a_deletion_the_decision_replays(
    db: Database, config: LoopConfig, http: TestClient
) -> None:
    answer = ask(http, config.project, ALDER)
    said = http.post("/v1/feedback", json={"answer_id": answer, "edited_answer": "3 kg", "rater": "ada"}).json()

    decided = run(config)

    assert decided.state is CycleState.COMPLETED
    made = learnt(db, decided)
    (pair,) = load_preferences(db, made)
    assert (pair.question, pair.chosen, pair.source, pair.judged_by) == (ALDER, "3 kg", "human", "edit")
    assert load_origins(db, [pair.id]) == {pair.id: (said["id"],)}

    told = csift("feedback", "forget", "ada").stdout
    assert "deleted 1 row of feedback, 1 served answer and" in told and made.id in told
    adapter = next(stage.record_id for stage in decided.stages if stage.stage == "train")
    assert "a person who asked for deletion; retrain" in http.get(f"/lineage/{adapter}").text
    assert "the same in every number" in csift("decide", "--replay", decided.decision_id or "").stdout
    assert "a person who asked for deletion; retrain" in csift("dataset", "show", made.id).stdout.replace("\n", " ")
    card = store().get(f"data-cards/{made.id}.html").decode()
    assert "person who asked for deletion" in card and pair.rejected not in card
    assert "keeps nothing of them" in csift("feedback", "forget", "ada").stdout

    again = run(config)

    assert again.state is CycleState.COMPLETED  # the deletion alone is reason to train
    assert learnt(db, again).preference_ids == ()
    assert registry.deletion_of(db, learnt(db, again).id) is None
    assert run(config).state is CycleState.NOTHING_NEW


def test_a_critic_of_the_nightly_run_grades_what_nobody_rated_and_the_dataset_learns_it(
    db: Database, config: LoopConfig, http: TestClient, serve: Any
) -> None:
    """The stand-in likes what people like: every answer is rated up, and graded 0.9."""
    for number in range(16):  # the fewest whose lower bound by Wilson is 0.8, when all agree
        answer = ask(http, config.project, f"How heavy is the Alder pump with hose {number}?")
        http.post("/v1/feedback", json={"answer_id": answer, "thumb": "up", "rater": "ada"})
    ask(http, config.project, ALDER)

    def grades(prompt: str, time: int) -> Reply:
        if "principles" in prompt or ("excerpts ## ]]" in prompt and "answer ## ]]\n" in prompt):
            return Answer("[[ ## reason ## ]]\nIt is short.\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]")
        return quantities(prompt, time)

    with TeacherServer(grades) as server:
        serve(server)
        told = config.feedback.model_copy(update={"critic": f"openai/{config.project}"})
        cycle = run(config.model_copy(update={"feedback": told}))
    assert "criticise" in [stage.stage for stage in cycle.stages]
    graded = [row for row in load_ratings(db, learnt(db, cycle)) if row.source == "ai"]
    assert [(row.question, row.desirable, row.raters) for row in graded] == [(ALDER, True, 1)]
