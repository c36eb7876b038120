"""Language models for DSPy. The local model is a `dspy.LM` over csift's own engine, which gathers concurrent calls into batches.

Not covered yet: Bedrock and OpenAI-compatible servers, budgets in money.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from csift.exceptions import CsiftError
from csift.interfaces import Engine, Messages, Progress, no_progress
from csift.ledger import Call, Ledger
from csift.schemas import Failure, Generation, GenerationParams

T = TypeVar("T")
R = TypeVar("R")

WAVE = 32  # items in flight at once


class GatheringEngine:
    """A DSPy engine (`complete(Request) -> Response`, dspy.lm15) that answers concurrent calls in one batch.

    Workers announce themselves (`worker()` in `map_batched`). When every one of them waits for an answer, all their calls go to
    the model together, sorted by content; so what is in a batch depends on the work only, never on the timing of threads, and a
    run that was killed and started again builds the same batches and gets the same answers. Answers are booked in the ledger
    before anybody sees them, and calls found there are not made again.
    """

    def __init__(self, engine: Engine, ledger: Ledger, role: str, adapter_path: str | None, adapter_id: str | None) -> None:
        self._engine = engine
        self._ledger = ledger
        self._role = role
        self._adapter_path = adapter_path
        self._model = f"{engine.id}+{adapter_id}" if adapter_id else engine.id
        self._lock = threading.Lock()
        self._working = 0
        self._waiting: list[tuple[Call, Future[Generation]]] = []
        self._spent = threading.local()

    def complete(self, request: Any) -> Any:
        """One chat → its response; blocks until the batch it went into is done."""
        from dspy.lm15 import Message, Response, Usage

        params = GenerationParams(
            max_new_tokens=request.config.max_tokens or GenerationParams().max_new_tokens,
            temperature=request.config.temperature or 0.0,
            seed=request.config.seed or 0,
        )
        answer = self._submit(Call(self._model, self._role, _messages(request), params)).result()
        self._spent.generations = [*getattr(self._spent, "generations", []), answer]
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(answer.text or " "),
            finish_reason="stop" if answer.finish == "stop" else "length",
            usage=Usage(input_tokens=answer.tokens_in, output_tokens=answer.tokens_out),
        )

    def stream(self, request: Any) -> Any:
        """The whole response as one event stream."""
        from dspy.lm15 import response_to_events

        return response_to_events(self.complete(request))

    def close(self) -> None:
        """Nothing to close."""

    def take_spent(self) -> list[Generation]:
        """The generations of this thread's calls since it last asked."""
        generations = getattr(self._spent, "generations", [])
        self._spent.generations = []
        return generations

    def enter(self, workers: int) -> None:
        """Announces workers; each ends with `leave`."""
        with self._lock:
            self._working += workers

    def leave(self) -> None:
        """One worker has made its last call."""
        with self._lock:
            self._working -= 1
            batch = self._ready()
        self._run(batch)

    def _submit(self, call: Call) -> Future[Generation]:
        future: Future[Generation] = Future()
        with self._lock:
            self._waiting.append((call, future))
            batch = self._ready()
        self._run(batch)
        return future

    def _ready(self) -> list[tuple[Call, Future[Generation]]]:
        if not self._waiting or len(self._waiting) < self._working:
            return []
        batch, self._waiting = self._waiting, []
        return sorted(batch, key=lambda entry: entry[0].key)

    def _run(self, batch: list[tuple[Call, Future[Generation]]]) -> None:
        if not batch:
            return
        try:
            answers = self._answer([call for call, _ in batch])
        except BaseException as error:  # noqa: BLE001 - every waiting worker must hear of it, also of Ctrl-C
            for _, future in batch:
                future.set_exception(error)
            return
        for call, future in batch:
            future.set_result(answers[call.key])

    def _answer(self, calls: list[Call]) -> dict[str, Generation]:
        answers = self._ledger.find(calls)
        fresh = {call.key: call for call in calls if call.key not in answers}
        groups: dict[GenerationParams, list[Call]] = {}
        for call in fresh.values():
            groups.setdefault(call.params, []).append(call)
        made: list[tuple[Call, Generation]] = []
        for params, group in groups.items():
            generations = self._engine.generate([call.messages for call in group], params, self._adapter_path)
            made += zip(group, generations, strict=True)
        self._ledger.book(made)
        return answers | {call.key: generation for call, generation in made}


def _messages(request: Any) -> Messages:
    system = request.system if isinstance(request.system, str) else "".join(part.text for part in request.system or ())
    chat = [{"role": message.role, "content": message.text or ""} for message in request.messages]
    return [{"role": "system", "content": system}, *chat] if system else chat


def local_lm(engine: GatheringEngine, name: str) -> Any:
    """The engine as a `dspy.LM`. DSPy's cache is off: the ledger is the one place where answers are kept."""
    import dspy

    logging.getLogger("dspy.clients.lm").setLevel(logging.ERROR)  # answers are short by design; it warns of each cut one
    return dspy.LM(f"csift/{name}", engine=engine, cache=False, num_retries=0)


def map_batched(
    work: Callable[[T], R],
    items: Sequence[T],
    engine: GatheringEngine,
    progress: Progress = no_progress,
    stage: str = "",
) -> list[R | Failure]:
    """Runs `work` (which calls DSPy programs) on every item, `WAVE` at once, results in order.

    An item whose program cannot read the model's output becomes a Failure; an error of the model itself ends the stage, one of
    csift's own (a prompt that is too long, no database) without DSPy's wrapping.
    """
    import dspy
    from dspy.utils.exceptions import AdapterParseError, LMError

    context = dict(dspy.settings.config)

    def one(item: T) -> R | Failure:
        try:
            with dspy.context(**{name: context[name] for name in ("lm", "adapter") if name in context}):
                return work(item)
        except AdapterParseError as error:
            return Failure(kind="unparsable", message=str(error).splitlines()[0])
        except LMError as error:
            if isinstance(error.__cause__, CsiftError):
                raise error.__cause__ from None
            raise
        finally:
            engine.leave()

    results: list[R | Failure] = []
    progress(stage, 0, len(items))
    for start in range(0, len(items), WAVE):
        wave = items[start : start + WAVE]
        engine.enter(len(wave))
        with ThreadPoolExecutor(len(wave)) as pool:
            futures: list[Future[R | Failure]] = []
            try:
                for item in wave:
                    futures.append(pool.submit(one, item))
            finally:  # after Ctrl-C the workers that were started must not wait for those that never will be
                for _ in range(len(wave) - len(futures)):
                    engine.leave()
            results += [future.result() for future in futures]
        progress(stage, len(results), len(items))
    return results
