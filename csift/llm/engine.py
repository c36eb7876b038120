"""Between DSPy and csift: a `dspy.LM` whose calls are answered by a Caller, and the accounts of what it took."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from csift.exceptions import ModelError
from csift.interfaces import Messages
from csift.ledger import Call, Charge, Reply
from csift.schemas import Cost, Failure, Generation, GenerationParams
from csift.telemetry.spans import answered, call_span

T = TypeVar("T")
R = TypeVar("R")

TAKEN = ("max_tokens", "temperature", "seed")  # what a module may set


class ItemFailed(Exception):
    """A call failed for good, for this prompt alone. Not an error of csift: the item becomes its Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class Account:
    """What was spent through one model, added up over its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cost = Cost()

    def made(self, charge: Charge, answered: bool) -> None:
        """A call was made."""
        with self._lock:
            self._cost = Cost(
                calls=self._cost.calls + answered,
                reused_calls=self._cost.reused_calls,
                tokens_in=self._cost.tokens_in + charge.tokens_in,
                tokens_out=self._cost.tokens_out + charge.tokens_out,
                usd=self._cost.usd + (charge.usd or 0.0),
            )

    def reused(self, calls: int) -> None:
        """Answers were taken from the ledger."""
        with self._lock:
            self._cost = self._cost.model_copy(update={"reused_calls": self._cost.reused_calls + calls})

    def cost(self) -> Cost:
        """The sum so far."""
        with self._lock:
            return self._cost


class Caller(Protocol):
    """Answers calls, and runs work that makes them."""

    model: str
    role: str
    default: GenerationParams
    structured: bool  # the model can be asked for marked fields; else for the bare answer
    account: Account

    def answer(self, call: Call) -> Reply:
        """The answer to one call, from the ledger or from the model; raises CsiftError or ItemFailed."""
        ...

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        """`one` of every item, several at once, results in order; `done` hears how many are finished.

        The first exception of `one` ends the run: nothing new is begun, calls in flight are booked, and it is raised.
        """
        ...


class DspyEngine:
    """A DSPy engine (`complete(Request) -> Response`, dspy.lm15) over a Caller; calls may be booked on a partition."""

    def __init__(self, caller: Caller, partition_id: str | None = None) -> None:
        self._caller = caller
        self._partition_id = partition_id
        self._spent = threading.local()

    def complete(self, request: Any) -> Any:
        """One chat → its response; blocks until it is there."""
        from dspy.lm15 import Message, Response, Usage

        chat, params = _messages(request), self._params(request)
        call = Call(self._caller.model, self._caller.role, chat, params, self._partition_id)
        with call_span(call.model, call.role) as span:
            reply = self._caller.answer(call)
            if isinstance(reply, Failure):
                raise ItemFailed(reply)
            answered(span, reply)
        self._spent.generations = [*getattr(self._spent, "generations", []), reply]
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(reply.text or " "),
            finish_reason="stop" if reply.finish == "stop" else "length",
            usage=Usage(input_tokens=reply.tokens_in, output_tokens=reply.tokens_out),
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

    def _params(self, request: Any) -> GenerationParams:
        from dspy.lm15 import Config

        unset, config, default = Config(), request.config, self._caller.default
        others = [name for name in Config.__dataclass_fields__ if getattr(config, name) != getattr(unset, name)]
        if request.tools or set(others) - set(TAKEN):
            raise ModelError(
                f"csift's models take {', '.join(TAKEN)}, and a module sets {', '.join(others) or 'tools'}; remove it"
            )
        return GenerationParams(
            max_new_tokens=config.max_tokens or default.max_new_tokens,
            temperature=default.temperature if config.temperature is None else config.temperature,
            seed=default.seed if config.seed is None else config.seed,
        )


def _messages(request: Any) -> Messages:
    system = request.system if isinstance(request.system, str) else "".join(part.text for part in request.system or ())
    chat = [{"role": message.role, "content": message.text or ""} for message in request.messages]
    return [{"role": "system", "content": system}, *chat] if system else chat


@lru_cache(maxsize=1)
def booked_class() -> Any:
    """A `dspy.LM` whose calls a DspyEngine answers.

    DSPy's `rollout_id`, by which its optimisers ask for another answer to the same prompt, becomes the seed; `n` is refused, as
    n equal calls would be one.
    """
    import dspy

    class Booked(dspy.LM):
        def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
            asked = {**self.kwargs, **kwargs}
            if (asked.get("n") or 1) > 1:
                raise ModelError("a module asks for n answers at once; ask n times with seeds of their own")
            if asked.get("rollout_id") is not None and asked.get("seed") is None:
                kwargs["seed"] = asked["rollout_id"]
            return super().__call__(prompt, messages=messages, **kwargs)

    logging.getLogger("dspy.clients.lm").setLevel(logging.ERROR)  # answers are short by design; it warns of each cut one
    return Booked


def language_model(engine: DspyEngine, name: str) -> Any:
    """The engine as a `dspy.LM`. DSPy's cache and retries are off: the ledger is the one place where answers are kept."""
    return booked_class()(f"csift/{name}", engine=engine, cache=False, num_retries=0)
