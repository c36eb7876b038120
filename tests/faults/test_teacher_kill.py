"""kill -9 on a process that asks a served teacher: no answer that was booked is asked for again, and the budget counts all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from teachers import SPECS, aws_keys, fields, topic

from bench.teacher_server import Answer, TeacherServer
from csift import cycles
from csift.db import Database
from csift.db.learning import CallRow
from csift.ledger import cost_of, outcomes, spent, unsettled

pytestmark = pytest.mark.slow
PATIENCE = 300.0  # seconds
ITEMS, CONCURRENCY = 60, 6
TOKENS = 100_000  # the budget of the child

# What a stage does, in a process of its own: the cycle, the model and the server are named by its arguments.
CHILD = """
import sys
import dspy
from csift.db import database
from csift.ledger import Budget, Ledger
from csift.llm import remote_model
from csift.settings import Settings

cycle, spec, url, items, concurrency = sys.argv[1:]
where = Settings(openai_base_url=url + "/v1", aws_endpoint_url=url, aws_region="us-east-1")
model = remote_model(spec, Ledger(database(), cycle), "teacher", settings=where, concurrency=int(concurrency), max_tokens=100,
                     budget=Budget(usd=1.0, tokens=100_000))
predict = dspy.Predict("topic -> answer")
found = model.map(lambda topic: predict(topic=topic).answer, [f"{cycle} {i}" for i in range(int(items))])
assert found == [f"{cycle} {i}".upper() for i in range(int(items))], found
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    """Answers after a twentieth of a second; each answer takes 40 tokens in and 10 out."""
    aws_keys(monkeypatch)
    with TeacherServer(
        lambda prompt, time: Answer(fields(topic(prompt).upper()), tokens_in=40, tokens_out=10), latency=0.05
    ) as running:
        yield running


def start(db: Database, server: TeacherServer, cycle: str, spec: str) -> subprocess.Popen[str]:
    """The child, on the same database."""
    environment = {**os.environ, "CSIFT_DATABASE_URL": db.url.render_as_string(hide_password=False)}
    arguments = [cycle, spec, server.aws_url, str(ITEMS), str(CONCURRENCY)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], cwd=Path(__file__).parent, env=environment, stderr=subprocess.PIPE, text=True
    )


def sessions(db: Database) -> set[int]:
    """Postgres's processes for csift."""
    with db.session() as session:
        return set(session.scalars(sa.text("SELECT pid FROM pg_stat_activity WHERE application_name = 'csift'")))


def booked(db: Database, cycle: str) -> int:
    """Answers in the ledger."""
    with db.session() as session:
        rows = sa.select(sa.func.count()).where(CallRow.cycle_id == cycle, CallRow.response.is_not(None))
        return session.scalar(rows) or 0


def prompts_booked(db: Database, cycle: str) -> set[str]:
    """The items whose answer is in the ledger, by what the answer says."""
    with db.session() as session:
        responses = session.scalars(sa.select(CallRow.response).where(CallRow.cycle_id == cycle, CallRow.response.is_not(None)))
        return {response["text"].split("\n")[1].lower() for response in responses if response}


@pytest.mark.parametrize("protocol", sorted(SPECS))
@pytest.mark.parametrize("after", [1, 17, 40])
def test_killed_among_its_calls_the_next_run_pays_only_for_the_rest(
    db: Database, project: str, server: TeacherServer, protocol: str, after: int
) -> None:
    cycle = cycles.begin(db, project, "manual", datetime(2026, 11, 20, 2, tzinfo=UTC))
    own = sessions(db)
    child = start(db, server, cycle, SPECS[protocol])
    deadline = time.monotonic() + PATIENCE
    while booked(db, cycle) < after:
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    while sessions(db) - own:  # Postgres ends a commit that it has begun
        assert time.monotonic() < deadline

    before, cut, known = server.asked(), unsettled(db, cycle), prompts_booked(db, cycle)
    tokens, usd = spent(db, cycle)
    assert after <= len(known) < ITEMS
    # Sent or about to be sent: there are twice as many threads as slots. Each counts at the most it may take.
    assert len(cut) <= 2 * CONCURRENCY
    assert all(call.charge.tokens_out == 100 and call.charge.tokens_in > 40 for call in cut)
    assert tokens == 50 * len(known) + sum(call.charge.tokens for call in cut)
    assert usd == pytest.approx(cost_of(db, cycle).usd)

    again = start(db, server, cycle, SPECS[protocol])
    assert again.wait(PATIENCE) == 0, again.communicate()[1]

    repaid = [prompt for prompt, times in server.asked().items() if topic(prompt).lower() in known and times > before[prompt]]
    assert repaid == []
    twice = sum(times > 1 for times in server.asked().values())
    assert twice <= len(cut)  # only a call of whose end nothing was heard may have been made before
    ended = outcomes(db, cycle)
    assert (ended["stop"], ended.get("in flight", 0)) == (ITEMS, len(cut))
    assert spent(db, cycle)[0] == 50 * ITEMS + sum(call.charge.tokens for call in cut) <= TOKENS
    print(f"{protocol}: killed with {len(known)} booked and {len(cut)} in flight; {len(repaid)} repaid, {twice} asked twice")
