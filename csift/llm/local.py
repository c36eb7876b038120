"""The local model: concurrent calls are gathered into batches."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from csift.interfaces import Engine
from csift.ledger import Call, Charge, Reply
from csift.llm.engine import Account, R, T
from csift.llm.mapping import LanguageModel
from csift.schemas import Generation, GenerationParams

WAVE = 32  # items in flight at once
SETTLED = 0.05  # seconds without another call, of threads that nobody announced; an answer takes ten times as long


class Booking(Protocol):
    """Where answers are kept: csift.ledger.Ledger, or nowhere."""

    def find(self, calls: Sequence[Call]) -> dict[str, Reply]:
        """The answers that are there, by the calls' keys."""
        ...

    def book(self, made: Sequence[tuple[Call, Generation]]) -> None:
        """Keeps answers."""
        ...


class Unbooked:
    """Keeps nothing: people who ask twice are answered twice."""

    def find(self, calls: Sequence[Call]) -> dict[str, Reply]:
        """None."""
        return {}

    def book(self, made: Sequence[tuple[Call, Generation]]) -> None:
        """Forgets them."""


def local_model(
    engine: Engine, ledger: Booking, role: str, adapter_path: str | None = None, adapter_id: str | None = None
) -> LanguageModel:
    """A model on this machine, with an adapter or none. It costs no money and no part of the budget's tokens."""
    return LanguageModel(GatheringEngine(engine, ledger, role, adapter_path, adapter_id))


class GatheringEngine:
    """Answers concurrent calls in one batch.

    The workers of `run` are known. When every one of them waits for an answer, or a full wave of them, their calls go to the
    model together, sorted by content; so what is in a batch depends on the work only, never on the timing of threads, and a run
    that was killed and started again builds the same batches and gets the same answers. Calls from other threads (dspy.Parallel,
    dspy.Evaluate) are gathered while the model is busy with the batch before, and until no other comes. Answers are booked in the
    ledger before anybody sees them, and calls found there are not made again.
    """

    structured = False

    def __init__(self, engine: Engine, ledger: Booking, role: str, adapter_path: str | None, adapter_id: str | None) -> None:
        self.model = f"{engine.id}+{adapter_id}" if adapter_id else engine.id
        self.role = role
        self.default = GenerationParams()
        self.account = Account()
        self._engine = engine
        self._ledger = ledger
        self._adapter_path = adapter_path
        self._changed = threading.Condition()
        self._working = 0
        self._answering = False
        self._waiting: list[tuple[Call, Future[Reply]]] = []

    def answer(self, call: Call) -> Reply:
        """Blocks until the batch that the call went into is done. One of those who wait makes it."""
        entry: tuple[Call, Future[Reply]] = (call, Future())
        with self._changed:
            self._waiting.append(entry)
        try:
            while batch := self._turn(entry[1]):
                self._run(batch)
                self._end_turn()
        except BaseException:  # Ctrl-C while waiting: the others go on without this call
            with self._changed:
                self._waiting = [other for other in self._waiting if other is not entry]
            raise
        return entry[1].result()

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        """In waves of `WAVE` threads; `done` after each."""

        def work(item: T) -> R:
            try:
                return one(item)
            finally:
                self._leave()

        results: list[R] = []
        for start in range(0, len(items), WAVE):
            wave = items[start : start + WAVE]
            self._enter(len(wave))
            with ThreadPoolExecutor(len(wave)) as pool:
                futures: list[Future[R]] = []
                try:
                    for item in wave:
                        futures.append(pool.submit(work, item))
                finally:  # after Ctrl-C the workers that were started must not wait for those that never will be
                    for _ in range(len(wave) - len(futures)):
                        self._leave()
                results += [future.result() for future in futures]
            done(len(results))
        return results

    def _enter(self, workers: int) -> None:
        """Announces workers; each ends with `_leave`."""
        with self._changed:
            self._working += workers

    def _leave(self) -> None:
        """One worker has made its last call."""
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    def _turn(self, future: Future[Reply]) -> list[tuple[Call, Future[Reply]]]:
        """Waits for the answer, or for the batch that the caller is to make."""
        with self._changed:
            self._changed.wait_for(lambda: future.done() or (not self._answering and self._complete()))
            if future.done():
                return []
            self._answering = True
            try:
                come = 0
                while not self._working and come < len(self._waiting):  # threads that were started together come one by one
                    come = len(self._waiting)
                    self._changed.wait(SETTLED)
            except BaseException:
                self._end_turn()
                raise
            batch, self._waiting = self._waiting, []
        return sorted(batch, key=lambda entry: entry[0].key)

    def _complete(self) -> bool:
        """Whether nobody is to be waited for; a server's workers never end coming."""
        return len(self._waiting) >= min(max(self._working, 1), WAVE)

    def _end_turn(self) -> None:
        """Lets another of those who wait make the next batch."""
        with self._changed:
            self._answering = False
            self._changed.notify_all()

    def _run(self, batch: list[tuple[Call, Future[Reply]]]) -> None:
        try:
            answers = self._answer([call for call, _ in batch])
        except BaseException as error:  # noqa: BLE001 - every waiting worker must hear of it, also of Ctrl-C
            for _, future in batch:
                future.set_exception(error)
            return
        for call, future in batch:
            future.set_result(answers[call.key])

    def _answer(self, calls: list[Call]) -> dict[str, Reply]:
        answers = self._ledger.find(calls)
        self.account.reused(sum(call.key in answers for call in calls))
        fresh = {call.key: call for call in calls if call.key not in answers}
        groups: dict[GenerationParams, list[Call]] = {}
        for call in fresh.values():
            groups.setdefault(call.params, []).append(call)
        made: list[tuple[Call, Generation]] = []
        for params, group in groups.items():
            generations = self._engine.generate([call.messages for call in group], params, self._adapter_path)
            made += zip(group, generations, strict=True)
        self._ledger.book(made)
        for _, generation in made:
            self.account.made(Charge(generation.tokens_in, generation.tokens_out), answered=True)
        return answers | {call.key: generation for call, generation in made}
