"""`csift serve`: what a served System is made of, and the server around it."""

import gc
import socket
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from weakref import WeakValueDictionary

from csift import registry
from csift.config import LoopConfig
from csift.corpus.scrub import Scrubber
from csift.db import Database, database
from csift.exceptions import ModelError, ServiceError
from csift.inference import LocalEngine, load_tokenizer
from csift.llm import LanguageModel
from csift.llm.local import Unbooked, local_model
from csift.models import BaseModel
from csift.rag import program_of
from csift.schemas import Adapter, System
from csift.serving.access import Doors, Queue, RateLimit
from csift.serving.answering import LOOK, Answerer, Champion
from csift.serving.answers import AnswerLog
from csift.serving.api import create_app
from csift.serving.asking import Server
from csift.serving.searching import Together
from csift.serving.sessions import Sessions
from csift.serving.trying import Trying
from csift.serving.vllm import Vllm
from csift.settings import settings
from tasks.collaborators import embedder, exact_base, index, retriever, store

# Seconds after which a Python thread that computes lets others go on; with Python's own 5 ms an answer waits for the log.
SWITCH = 0.0005
_ENGINES: WeakValueDictionary[tuple[str, str | None], LocalEngine] = WeakValueDictionary()  # by revision and adapter


def answerer(config: LoopConfig, system: System, pause: Callable[[], None] | None = None) -> Answerer:
    """The System with an engine that loads while the one before goes on answering.

    Systems that differ in program or retrieval only share the engine, with its weights. Two adapters cannot: the engine merges
    them into the weights. Whoever has to pause has one of its own, as those who share it would pause as well.

    Raises:
        ModelError: its model is not on this machine, or is another revision.
        StorageError: its adapter is not whole.
    """
    warm = pause is None and (system.base_revision, system.adapter_id) in _ENGINES
    return Answerer(system, program_of(system, Together(retriever(config)), store()), _model(system, pause), warm)


def _model(system: System, pause: Callable[[], None] | None) -> LanguageModel:
    if system.custom_model:
        raise ModelError(f"{system.id} is a custom model of Bedrock, which csift does not serve; roll back, or serve it there")
    base = exact_base(system.base_model, system.base_revision, system.id)
    told = settings()
    folder = store().open_artifact(registry.load(database(), Adapter, system.adapter_id).artifact) if system.adapter_id else None
    if told.vllm_url:
        return Vllm(told.vllm_url, system.base_model, load_tokenizer(base), told.call_timeout).model(system.adapter_id, folder)
    return local_model(_engine(system, base, pause), Unbooked(), "serve", str(folder) if folder else None, system.adapter_id)


def _engine(system: System, base: BaseModel, pause: Callable[[], None] | None) -> LocalEngine:
    threads = settings().threads
    if pause:
        return LocalEngine(base, threads, pause)
    return _ENGINES.setdefault((base.revision, system.adapter_id), LocalEngine(base, threads))


def run(config: LoopConfig, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serves until it is told to end; requests in flight are answered first. While there is no champion yet, requests wait.

    Raises:
        ServiceError: the address is taken.
        CsiftError: the champion cannot be loaded.
    """
    import uvicorn

    listening = _bind(host, port)  # first, as the rest takes a while
    sys.setswitchinterval(SWITCH)
    db = database()
    scrub = Scrubber(config.corpus.scrub, config.corpus.allow).text
    _await_champion(db, config.project, tell)
    champion = Champion(db, config.project, lambda system: answerer(config, system), tell)
    people = Queue(config.serving.queue)
    trying = Trying(db, champion, lambda system, pause: answerer(config, system, pause), people, scrub, tell)
    doors = Doors(db, config.project, _loopback(host), tell)
    answers = AnswerLog(db, scrub, tell)
    found = index(config.project, config.retrieval)
    server = Server(
        db=db,
        project=config.project,
        champion=champion,
        trying=trying,
        answers=answers,
        doors=doors,
        embedder=found.embedder if found else embedder(),
        rate=RateLimit(config.serving.per_minute),
        queue=people,
        threads=config.serving.queue,
        scrub=scrub,
        store=store(),
        sessions=Sessions(config.project, secret.get_secret_value() if (secret := settings().session_secret) else None),
    )
    champion.follow()
    trying.follow()
    doors.follow()
    tell(f"{config.project}: {champion.now.system.id} answers at http://{host}:{port}, as an API below /v1; Ctrl-C ends it")
    gc.freeze()  # what was loaded stays: collections of garbage pass it by
    try:
        settled = uvicorn.Config(create_app(server), log_level="warning", timeout_graceful_shutdown=30, server_header=False)
        uvicorn.Server(settled).run(sockets=[listening])
    finally:
        champion.close()
        trying.close()
        doors.close()
        answers.close()


def _await_champion(db: Database, project: str, tell: Callable[[str], None]) -> None:
    if registry.champion(db, project) is None:
        tell(f"{project} has no champion yet; waits for the first promotion, which `csift run nightly` makes")
    while registry.champion(db, project) is None:
        time.sleep(LOOK)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except OSError as error:
        raise ServiceError(f"cannot serve on {host}:{port}: {error.strerror}; choose another --host or --port") from None


def _loopback(host: str) -> bool:
    """Whether only this machine can ask."""
    return host == "localhost" or ip_address(host).is_loopback
