"""Servers of a project that has been through some nights, for tests of the pages."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from answerers import Writer
from encoders import WordEmbedder
from fastapi import FastAPI
from lived import Lived, live
from samples import SCRIPT
from starlette.testclient import TestClient

from csift.db import Database
from csift.llm.local import Unbooked, local_model
from csift.rag import standard_program
from csift.schemas import Hit, System
from csift.serving.access import Doors, Queue, RateLimit
from csift.serving.answering import Answerer, Champion
from csift.serving.answers import AnswerLog
from csift.serving.asking import Server
from csift.serving.sessions import Sessions
from csift.serving.trying import Pause, Trying
from csift.storage import LocalStore

HITS = (
    Hit(chunk_id="alder.md#0", document_id="alder.md", text="The Alder pump weighs 3 kg.", score=0.91),
    Hit(chunk_id="alder.md#1", document_id="alder.md", text=f"It says {SCRIPT}.", score=0.42),
)


class Shelf:
    """A retriever with two chunks, one of which holds a script."""

    id = "shelf"

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        return [list(HITS) for _ in questions]


@contextmanager
def desk(db: Database, project: str, folder: Path, open_to_all: bool = True) -> Iterator[tuple[Server, Lived]]:
    """A server of a new project, its parts ready; the champion writes its own name."""
    store = LocalStore(folder / "store")
    lived = live(db, project, folder, store)
    told: list[str] = []

    def ready(system: System, pause: Pause | None = None) -> Answerer:
        return Answerer(system, standard_program(Shelf(), 3), local_model(Writer(system.id, pause), Unbooked(), "serve"))

    champion, queue = Champion(db, project, ready, told.append), Queue(64)
    server = Server(
        db=db, project=project, champion=champion, trying=Trying(db, champion, ready, queue, str.strip, told.append),
        answers=AnswerLog(db, lambda text: text, told.append), doors=Doors(db, project, open_to_all, told.append),
        embedder=WordEmbedder(), rate=RateLimit(100_000), queue=queue, threads=8, scrub=str.strip, store=store,
        sessions=Sessions(project),
    )  # fmt: skip
    try:
        yield server, lived
    finally:
        server.answers.close()


class Browser:
    """A browser without a screen: keeps cookies, follows redirects, sends forms with the page's own token."""

    def __init__(self, app: FastAPI, url: str = "http://localhost") -> None:
        self.client = TestClient(app, base_url=url)
        self.own: str | None = None

    def get(self, path: str) -> Any:
        return self.client.get(path)

    def token(self, path: str = "/sign-in") -> str:
        return re.findall(r'name="token" value="(\w+)"', self.get(path).text)[0]

    def send(self, path: str, fields: dict[str, str], follow: bool = True) -> Any:
        token = self.own or self.token()
        self.own = None if path.startswith("/sign") else token  # signing in or out begins another session
        return self.client.post(path, data={"token": token, **fields}, follow_redirects=follow)

    def named(self, name: str) -> "Browser":
        self.send("/name", {"name": name})
        return self

    def signed_in(self, secret: str) -> "Browser":
        assert self.send("/sign-in", {"key": secret}).status_code == 200
        return self

    def asked(self, question: str = "How heavy is the Alder?") -> Any:
        return self.send("/", {"question": question})
