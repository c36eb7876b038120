"""A server of a project whose Systems write their own names, for tests of serving."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import openai
import uvicorn
from champions import Project
from encoders import WordEmbedder

from csift.exceptions import ModelError
from csift.interfaces import Messages, Retriever
from csift.llm.local import Unbooked, local_model
from csift.rag import standard_program
from csift.schemas import Generation, GenerationParams, Hit, System
from csift.serving.access import Doors, Queue, RateLimit
from csift.serving.answering import Answerer, Champion
from csift.serving.answers import AnswerLog
from csift.serving.api import create_app
from csift.serving.asking import Server
from csift.serving.sessions import Sessions
from csift.serving.trying import Pause, Trying
from csift.storage import LocalStore

SHADOWED = 3  # questions that wait for a shadow
BROKEN = 99  # k of a System that cannot be loaded
HIT = Hit(chunk_id="kestrel.md#0", document_id="kestrel.md", text="The Kestrel 40 weighs 29 kg.", score=0.91)


class Shelf:
    """A retriever with one chunk."""

    id = "shelf"

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        return [[HIT] for _ in questions]


class Writer:
    """An engine that writes its own name, a word at a time, as a model writes tokens."""

    def __init__(self, name: str, pause: Pause | None) -> None:
        self.id = name
        self.pause = pause
        self.asked = 0
        self.broken = False
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def generate(
        self, prompts: Sequence[Messages], params: GenerationParams, adapter_path: str | None = None
    ) -> list[Generation]:
        self.asked += 1
        if self.broken:
            raise ModelError("it lost its weights")
        self.gate.wait(30)
        if self.pause:
            self.pause()
        self.batches.append(len(prompts))
        return [Generation(text=saying(self.id), finish="stop", tokens_in=9, tokens_out=6, seconds=0.01) for _ in prompts]


@dataclass
class Running:
    """A server that answers, and its parts."""

    url: str
    server: Server
    writers: dict[str, Writer]
    told: list[str]

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def ask(self, question: str = "How heavy is it?", key: str | None = None, **more: Any) -> httpx.Response:
        asked = {"model": self.server.project, "messages": [{"role": "user", "content": question}], **more}
        return self.post("/v1/chat/completions", asked, key)

    @property
    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0)


def wrote(running: Running) -> str:
    """What the champion answers."""
    return saying(running.server.champion.now.system.id)


def saying(system_id: str) -> str:
    return f"{system_id} says 29 kg, {system_id} does"


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


Serve = Callable[..., Running]


@contextmanager
def servers_of(made: Project) -> Iterator[Serve]:
    """Starts servers of the project."""
    db, project = made.db, made.name
    folder = TemporaryDirectory()
    store = LocalStore(Path(folder.name))

    def start(open_to_all: bool = True, retriever: Retriever | None = None, **parts: Any) -> Running:
        writers: dict[str, Writer] = {}
        told: list[str] = []

        def ready(system: System, pause: Pause | None = None) -> Answerer:
            if system.k == BROKEN:
                raise ModelError("its weights cannot be read")
            writers[system.id] = Writer(system.id, pause)
            model = local_model(writers[system.id], Unbooked(), "serve")
            return Answerer(system, standard_program(retriever or Shelf(), 3), model)

        def scrub(text: str) -> str:
            return text.replace("29 kg", "<WEIGHT>")

        champion, queue = Champion(db, project, ready, told.append), parts.pop("queue", Queue(64))
        server = Server(
            db=db, project=project, champion=champion, trying=Trying(db, champion, ready, queue, scrub, told.append, SHADOWED),
            answers=AnswerLog(db, scrub, told.append), doors=Doors(db, project, open_to_all, told.append),
            embedder=WordEmbedder(), rate=RateLimit(10_000), queue=queue, threads=64, scrub=str.strip, store=store,
            sessions=Sessions(project),
        )  # fmt: skip
        server = replace(server, **parts)
        url = held.enter_context(listening(create_app(server)))
        for part in (server.champion, server.trying, server.doors, server.answers):
            held.enter_context(closing(part))
        return Running(url, server, writers, told)

    with folder, ExitStack() as held:
        yield start
