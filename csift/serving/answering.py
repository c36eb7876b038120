"""The champion, ready to answer: loaded beside the one before, which goes on until the new one can take over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from csift import registry
from csift.db.base import now
from csift.db.connection import Database
from csift.exceptions import CsiftError, GateError
from csift.interfaces import Program
from csift.llm import LanguageModel
from csift.schemas import Failure, Generation, Hit, System
from csift.serving.following import Follower

LOOK = 1.0  # seconds between two looks at the champion pointer
WARM_UP = "What is this about?"


@dataclass(frozen=True)
class Told:
    """An answer, the chunks it was made from (best first), and what it took."""

    text: str
    sources: tuple[Hit, ...]
    spent: tuple[Generation, ...]


class Answerer:
    """One System with its program and model. Its answers are its own from the first token to the last. `warm`: its engine answers
    for another System already, so that nobody will wait for weights."""

    def __init__(self, system: System, program: Program, model: LanguageModel, warm: bool = False) -> None:
        self.system, self.warm = system, warm
        self._program, self._model = program, model

    def answer(self, question: str) -> Told | Failure:
        """Blocks until the answer is there; calls from several threads are answered together.

        Raises:
            CsiftError: what model and retriever raise.
        """

        def ask(text: str) -> Told:
            prediction = self._program(question=text)
            return Told(str(prediction.answer), tuple(prediction.hits), tuple(self._model.take_spent()))

        return self._model.map(ask, [question])[0]


class Champion:
    """Who answers for a project at the moment. `look` follows the pointer; requests keep whom they began with."""

    def __init__(self, db: Database, project: str, ready: Callable[[System], Answerer], tell: Callable[[str], None]) -> None:
        """`ready` makes an Answerer of a System; `tell` hears what went wrong while another is loaded.

        Raises:
            GateError: the project has no champion.
            CsiftError: it cannot be loaded.
        """
        self._db, self.project, self._ready, self._tell = db, project, ready, tell
        self._follower = Follower("champion", LOOK, self.look, self._trouble, tell)
        self._failed: str | None = None
        self.now = self._load(self._pointer())

    def follow(self) -> None:
        """Starts looking at the pointer every second."""
        self._follower.start()

    def close(self) -> None:
        """Stops looking."""
        self._follower.stop()

    def look(self) -> bool:
        """Whether another System answers from now on."""
        system = self._pointer()
        if system.id in (self.now.system.id, self._failed):
            return False
        try:
            self.now = self._load(system)
        except CsiftError as error:
            self._failed = system.id  # until the pointer moves again; a restart tries it, too
            self._tell(f"the new champion {system.id} cannot be loaded, {self.now.system.id} goes on answering: {error}")
            return False
        self._failed = None
        self._tell(f"{self.now.system.id} answers now")
        return True

    def _trouble(self) -> str:
        return f"cannot look who is champion, {self.now.system.id} goes on answering"

    def _pointer(self) -> System:
        found = registry.champion(self._db, self.project)
        if found is None:
            raise GateError(f"{self.project} has no champion yet; run `csift run nightly` first")
        return found

    def _load(self, system: System) -> Answerer:
        made = self._ready(system)
        if not made.warm:
            made.answer(WARM_UP)  # loads the weights before anybody waits for them
        return made


def answered(system: System, told: Told, seconds: float) -> dict[str, Any]:
    """The fields of `csift.schemas.serving.Answered`, but for the project, as of now."""
    return {
        "system_id": system.id,
        "adapter_id": system.adapter_id,
        "at": now(),
        "answer": told.text,
        "sources": told.sources,
        "finish": told.spent[-1].finish if told.spent else "stop",
        "tokens_in": sum(one.tokens_in for one in told.spent),
        "tokens_out": sum(one.tokens_out for one in told.spent),
        "seconds": seconds,
    }
