"""`csift serve` as people start it."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from served import small_project, until

from csift import registry
from csift.config import load_config
from csift.corpus import ingest
from csift.db import Database
from csift.models import BaseModel
from csift.rag import closed_book_hash, standard_program_hash
from csift.schemas import GenerationParams, System
from csift.serving import keys
from tasks.collaborators import index

pytestmark = pytest.mark.slow


def test_the_command_answers_follows_the_champion_and_ends(db: Database, tmp_path: Path, tiny_model: BaseModel) -> None:
    toml = small_project(tmp_path)
    config = load_config(toml)
    found = index(config.project, config.retrieval)
    assert found
    snapshot = ingest(db, found, config.project, config.corpus).snapshot
    systems = [
        System.of(
            base_model=str(tiny_model.path), base_revision=tiny_model.revision, adapter_id=None, program=program,
            program_hash=hash_, snapshot_id=snapshot.id, embedder=found.id, k=2, generation=GenerationParams(max_new_tokens=4),
        )
        for program, hash_ in (("standard", standard_program_hash()), ("closed-book", closed_book_hash()))
    ]  # fmt: skip
    registry.bootstrap_champion(db, config.project, systems[0])
    secret = keys.create(db, config.project, "Ada", "ask")[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.cli", "serve", "--config", str(toml), "--host", "0.0.0.0", "--port", str(port)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr and "Ctrl-C ends it" in next(line for line in process.stderr if line.startswith("csift"))
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), bool)
        assert httpx.post(f"{url}/v1/chat/completions", json={}).status_code == 401
        assert httpx.get(f"{url}/").headers["location"] == "/sign-in?next=%2F"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=secret)

        def ask(session: str = "one") -> str:
            told = client.chat.completions.create(
                model=config.project,
                messages=[{"role": "user", "content": "How heavy?"}],
                extra_headers={"x-csift-session": session},
            )
            assert len(told.model_extra["csift"]["sources"]) == (2 if told.model == systems[0].id else 0)  # type: ignore[index]
            return told.model

        assert ask() == systems[0].id
        registry.save_system(db, systems[1])
        with db.session() as session:
            registry.move_champion(session, config.project, "promotion", systems[0].id, systems[1].id, None)
        assert until(ask, lambda model: model == systems[1].id) == systems[1].id

        def trial(*arguments: str) -> str:
            run = [sys.executable, "-m", "flows.cli", "trial", *arguments, "--config", str(toml)]
            return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout

        def asked_by_sixteen() -> list[str]:
            with ThreadPoolExecutor(4) as people:
                return list(people.map(ask, (f"chat-{n}" for n in range(16))))

        both = {system.id for system in systems}
        assert "answers 50.0% of the sessions" in trial("canary", systems[0].id, "--share", "0.5")
        until(asked_by_sixteen, lambda models: set(models) == both)  # while it begins, a session may meet both
        first = asked_by_sixteen()
        assert asked_by_sixteen() == first  # each session meets the same System again
        trial("end")
        until(asked_by_sixteen, lambda models: set(models) == {systems[1].id})
        assert "Ended" in (shown := trial("show")) and all(system.id in shown for system in systems)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False
