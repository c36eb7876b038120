"""kill -9 on the critic, while it is held against people and while it grades: the next run pays for what was not answered."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from answers import served

from bench.teacher_server import Answer, Reply, TeacherServer
from csift import cycles, feedback
from csift.db import Database
from csift.db.feedback import CritiqueRow
from csift.db.learning import CallRow
from csift.ledger import unsettled

pytestmark = pytest.mark.slow
PATIENCE = 300.0  # seconds
PAIRS, ALONE = 10, 60  # rated good and bad; answers that nobody rated

CHILD = """
import sys
from csift import feedback
from csift.config import FeedbackConfig
from csift.db import database
from csift.judges import CriticJudge
from csift.judges.critic import CRITIC
from csift.ledger import Ledger
from csift.llm import remote_model
from csift.settings import Settings

cycle, project, url = sys.argv[1:]
config = FeedbackConfig(critic="openai/" + project)  # a model of its own, so that nothing of it is in the ledger
where = Settings(openai_base_url=url, openai_api_key="any")
model = remote_model(config.critic, Ledger(database(), cycle), CRITIC, settings=where, concurrency=4, max_tokens=100)
people = feedback.lessons(database(), project, config)
print(feedback.criticise(database(), project, CriticJudge(model), config, people).graded)
"""


def field(prompt: str, name: str) -> str:
    """Of what the critic is asked."""
    return prompt.rpartition(f"[[ ## {name} ## ]]\n")[2].partition("\n")[0]


def by_unit(prompt: str, time: int) -> Reply:
    """Likes answers in kg; its reason is the question."""
    score = 0.9 if field(prompt, "answer").endswith("kg") else 0.1
    said = f"[[ ## reason ## ]]\n{field(prompt, 'question')}\n\n[[ ## score ## ]]\n{score}\n\n[[ ## completed ## ]]"
    return Answer(said, tokens_in=40, tokens_out=10)


def start(db: Database, server: TeacherServer, cycle: str, project: str) -> subprocess.Popen[str]:
    """The child, on the same database."""
    environment = {**os.environ, "CSIFT_DATABASE_URL": db.url.render_as_string(hide_password=False)}
    command = [sys.executable, "-c", CHILD, cycle, project, server.openai_url]
    folder = Path(__file__).parent
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def booked(db: Database, cycle: str) -> set[str]:
    """The questions whose critique is in the ledger."""
    with db.session() as session:
        replies = session.scalars(sa.select(CallRow.response).where(CallRow.cycle_id == cycle, CallRow.response.is_not(None)))
        return {reply["text"].split("\n")[1] for reply in replies if reply}


def kept(db: Database, project: str) -> int:
    """Critiques."""
    with db.session() as session:
        return session.scalar(sa.select(sa.func.count()).where(CritiqueRow.project == project)) or 0


@pytest.mark.parametrize("after", [5, 2 * PAIRS + 10, 2 * PAIRS + 40])
def test_killed_the_next_run_pays_for_the_rest_only(db: Database, project: str, after: int) -> None:
    for n in range(PAIRS):
        for answer, thumb in (("29 kg", "up"), ("heavy", "down")):
            id_ = served(db, project, answer, f"{thumb} {n}?")
            feedback.give(db, project, id_, thumb=thumb, rater=f"r{n}", scrub=str)
    for n in range(ALONE):
        served(db, project, "8 kg", f"Alone {n}?")
    cycle = cycles.begin(db, project, "manual", datetime(2026, 11, 22, 2, tzinfo=UTC))
    deadline = time.monotonic() + PATIENCE

    with TeacherServer(by_unit, latency=0.05) as server:
        child = start(db, server, cycle, project)
        while len(booked(db, cycle)) < after:
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        while (cut := kept(db, project)) % 32:  # Postgres ends a commit that it has begun
            assert time.monotonic() < deadline
        before, known, unheard = server.asked(), booked(db, cycle), unsettled(db, cycle)
        assert after <= len(known) < 2 * PAIRS + ALONE

        again = start(db, server, cycle, project)
        said, troubles = again.communicate(timeout=PATIENCE)
        assert again.returncode == 0, troubles
        asked_again = {field(prompt, "question") for prompt, times in server.asked().items() if times > before[prompt]}
        twice = sum(times > 1 for times in server.asked().values())

    assert int(said) == ALONE - cut and kept(db, project) == ALONE
    assert not asked_again & known
    assert twice <= len(unheard) <= 8  # only a call of whose end nothing was heard may have been made before
    print(f"critic killed with {len(known)} booked, {cut} kept, {len(unheard)} in flight: none repaid, {twice} asked twice")
