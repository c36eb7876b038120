"""Served models: backoff, concurrency, budget and the ledger around one HTTP exchange.

A call is written into the ledger before it is sent, at the most it may take, and filled in as soon as its answer is there. The
slot that bounds concurrency is held over the exchange alone; prompts are made, calls booked and answers read outside of it, by
more threads than there are slots, so that no slot waits for them.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from sqlalchemy.exc import OperationalError

from csift.exceptions import BudgetExhausted, ConfigError, TeacherError
from csift.interfaces import Messages
from csift.ledger import REFUSED, Budget, Call, Charge, Ledger, Reply, Reservation
from csift.llm.engine import Account, ItemFailed, R, T
from csift.llm.mapping import LanguageModel
from csift.llm.services import (
    DENIED,
    MAYBE_PAID,
    PASSING,
    REJECTED,
    THROTTLED,
    UNKNOWN,
    Answer,
    BedrockService,
    CallError,
    OpenAIService,
    Part,
    Service,
    refused_part,
)
from csift.prices import Price, price_of
from csift.schemas import Failure, Generation, GenerationParams
from csift.settings import Settings

SERVICES: dict[str, Callable[[str, Settings, int], Service]] = {"bedrock": BedrockService, "openai": OpenAIService}
BYTES_PER_TOKEN = 3  # of prompts that nobody has counted yet: English has four to five, other scripts about three
UNSENT = "unsent"
LOOK = 0.2  # seconds between two looks at whether the run was cancelled
GRACE = 5.0  # seconds that calls in flight are given to be booked when a run is cancelled
BOOKING_TRIES = 5  # of writing an answer that was paid for, while the database is away

NO_LIMIT = Budget()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """When a call is tried again, in seconds. `tries` are those of a call that fails for other reasons than throttling.

    Exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): `first`, doubled with
    each try up to `longest`, of which a random share is waited. A service that throttles, is unavailable or cannot be reached
    takes no money, so it is waited for; when it has answered nobody for `patience` it counts as gone.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    patience: float = 900.0

    def seconds(self, waits: int) -> float:
        """To wait the so-manieth time, from 1."""
        return random.uniform(0.0, min(self.longest, self.first * 2.0 ** min(waits, 30)))


class Clock:
    """Time as calls wait for it; tests have one that does not wait."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Lets the seconds pass, or as many as it takes until `stop` is set; whether it was."""
        return stop.wait(seconds)


REAL = Clock()


def is_served(spec: str) -> bool:
    """Whether a model's name is that of a served one: `bedrock/...` or `openai/...`."""
    provider, slash, model = spec.partition("/")
    return bool(slash and model) and provider in SERVICES


def remote_model(
    spec: str,
    ledger: Ledger,
    role: str,
    *,
    settings: Settings,
    concurrency: int,
    max_tokens: int,
    temperature: float = 0.0,
    budget: Budget = NO_LIMIT,
    usd_per_million_in: float | None = None,
    usd_per_million_out: float | None = None,
    backoff: Backoff | None = None,
    asked_as: str | None = None,
    structured: bool = True,
    clock: Clock = REAL,
) -> LanguageModel:
    """A served model, named as in litellm and DSPy: `bedrock/<model or inference profile>`, or `openai/<model>` of the server at
    `settings.openai_base_url`.

    `max_tokens` and `temperature` are for modules that set none. The name is all that is remembered of where an answer came from;
    `asked_as` is what the service is asked for, where that changes and the model does not, as with provisioned throughput.
    `structured` is off for a model that was trained to give the bare answer to the plain prompt. Without a `backoff` of its own
    it is the usual one, with the settings' patience.

    Raises:
        ConfigError: another provider, no key or region, or a budget in money for a model without a known price.
    """
    provider, _, model = spec.partition("/")
    if not is_served(spec):
        raise ConfigError(f"{spec!r} names no served model; write bedrock/<model> or openai/<model>")
    price = price_within(budget, spec, usd_per_million_in, usd_per_million_out)
    if (budget.usd is not None or budget.tokens is not None) and ledger.cycle_id is None:
        raise ConfigError(f"{spec}: a budget belongs to a cycle, and these calls are booked on none; give the ledger a cycle")
    service = SERVICES[provider](asked_as or model, settings, concurrency)
    default = GenerationParams(max_new_tokens=max_tokens, temperature=temperature)
    waits = backoff or Backoff(patience=settings.call_patience)
    return LanguageModel(ServedCaller(spec, role, service, ledger, default, price, budget, concurrency, waits, structured, clock))


class _Troubles:
    """What a call that began at a moment has met so far, by the clock."""

    def __init__(self, began: float) -> None:
        self.began = self.since = began  # since when it fails
        self.waits = self.tries = self.paid = 0

    def count(self, error: CallError, now: float) -> None:
        """Tries are those that failed for other reasons than throttling; of these some may have been paid for."""
        if not self.waits:
            self.since = now
        self.waits += 1
        self.tries += error.kind != THROTTLED
        self.paid += error.kind in MAYBE_PAID


def price_within(budget: Budget, spec: str, usd_per_million_in: float | None, usd_per_million_out: float | None) -> Price | None:
    """`price_of` a served model. Raises ConfigError when nobody knows it and the budget is one in money."""
    price = price_of(spec, usd_per_million_in, usd_per_million_out)
    if price is None and budget.usd is not None:
        raise ConfigError(
            f"nobody knows what {spec} costs, and budget.usd is set; set usd_per_million_in and usd_per_million_out beside it"
        )
    return price


class Stopped(Exception):
    """The run that a call belongs to has ended; nobody waits for its answer."""


class ServedCaller:
    """Answers calls by a Service. Its slots and its waiting are shared by all runs in this process."""

    def __init__(
        self,
        spec: str,
        role: str,
        service: Service,
        ledger: Ledger,
        default: GenerationParams,
        price: Price | None,
        budget: Budget,
        concurrency: int,
        backoff: Backoff,
        structured: bool,
        clock: Clock,
    ) -> None:
        self.structured = structured  # asked for DSPy's marked fields; else for the bare answer
        self.model = spec
        self.role = role
        self.default = default
        self.account = Account()
        self._service = service
        self._ledger = ledger
        self._price = price
        self._budget = budget
        self._concurrency = concurrency
        self._backoff = backoff
        self._clock = clock
        self._slots = threading.Semaphore(concurrency)
        self._lock = threading.Lock()
        self._ended = threading.Condition()
        self._open = 0  # reservations of calls that have not ended
        self._endings = 0  # calls that have
        self._flights: dict[str, Future[Reply]] = {}
        self._dropped: frozenset[Part] = frozenset()
        self._not_before = 0.0  # by the clock; until then nothing is sent, because the service asked to wait
        self._answered_at = clock.now()
        self._warned_of: float | None = None  # the silence after this answer
        self._run = threading.local()

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        """Twice as many threads as slots; `done` after each item."""
        stop = threading.Event()

        def work(item: T) -> R:
            if stop.is_set():
                raise Stopped
            self._run.stop = stop
            return one(item)

        finished: SimpleQueue[Future[R]] = SimpleQueue()
        futures: list[Future[R]] = []
        pool = ThreadPoolExecutor(max(1, min(len(items), 2 * self._concurrency)))
        grace: float | None = GRACE
        try:
            for item in items:
                futures.append(pool.submit(work, item))
                futures[-1].add_done_callback(finished.put)
            for count in range(1, len(items) + 1):
                _next(finished).result()
                done(count)
        except Exception:  # not a cancelled run: answers that were paid for are waited for
            grace = None
            raise
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if not future.cancelled()], grace)
        return [future.result() for future in futures]

    def answer(self, call: Call) -> Reply:
        """From the ledger, from an equal call that is being made, or from the service.

        Raises:
            ItemFailed: the service rejects this call, or fails for it alone until its tries are used up.
            TeacherError, BudgetExhausted: as LanguageModel.map says.
        """
        while True:
            mine: Future[Reply] = Future()
            with self._lock:
                flight = self._flights.setdefault(call.key, mine)
            if flight is mine:
                return self._lead(call, mine)
            try:
                reply = flight.result()
            except Stopped:  # the other call belonged to a run that has ended
                self._wait(0.0)
                continue
            self.account.reused(1)
            return reply

    def _lead(self, call: Call, flight: Future[Reply]) -> Reply:
        """Answers a call for all who wait for the same one."""
        try:
            known = self._ledger.find([call])
            self.account.reused(len(known))
            reply = known[call.key] if known else self._make(call)
        except BaseException as error:
            flight.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._flights[call.key]
        flight.set_result(reply)
        return reply

    def _make(self, call: Call) -> Reply:
        troubles = _Troubles(self._clock.now())
        while True:
            dropped = self._dropped
            try:
                return self._attempt(call, dropped)
            except CallError as error:
                if self._drops(error, dropped):
                    continue
                troubles.count(error, self._clock.now())
                self._give_up(error, troubles)
                self._back_off(error, troubles.waits)

    def _attempt(self, call: Call, dropped: frozenset[Part]) -> Reply:
        """One exchange, booked before and after. Raises CallError."""
        most = self._charge(_estimate(call.messages), call.params.max_new_tokens)
        self._wait(self._not_before - self._clock.now())
        with self._reserved(call, most) as reservation:
            outcome, seconds = self._exchange(call, dropped)
            if outcome is None:
                self._settle(reservation, UNSENT, Charge(), seconds)
                raise Stopped
            if isinstance(outcome, CallError):
                self._settle(reservation, outcome.kind, most if outcome.kind in MAYBE_PAID else Charge(), seconds)
                raise outcome
            reply, charge = self._read(call, outcome, seconds)
            self._settle(reservation, outcome.finish, charge, seconds, reply)
        self._answered_at = self._clock.now()
        return reply

    @contextmanager
    def _reserved(self, call: Call, most: Charge) -> Iterator[Reservation]:
        reservation = self._reserve(call, most)
        try:
            yield reservation
        finally:
            with self._ended:
                self._open -= 1
                self._endings += 1
                self._ended.notify_all()

    def _reserve(self, call: Call, most: Charge) -> Reservation:
        """Room in the budget. As calls take less than the most they may, one that does not fit waits for those in flight."""
        while True:
            with self._ended:
                endings = self._endings
            try:
                reservation = self._ledger.reserve(call, most, self._budget)
            except BudgetExhausted:
                with self._ended:
                    while self._endings == endings:
                        if not self._open:
                            raise
                        self._ended.wait(LOOK)
                        self._wait(0.0)
                continue
            with self._ended:
                self._open += 1
            return reservation

    def _exchange(self, call: Call, dropped: frozenset[Part]) -> tuple[Answer | CallError | None, float]:
        """The HTTP exchange, in a slot. Returns what came back and the seconds it took; None when the run ended before it."""
        while True:
            with self._slots:
                pause = self._not_before - self._clock.now()
                if self._stop().is_set():
                    return None, 0.0
                if pause <= 0:
                    began = time.perf_counter()
                    try:
                        outcome: Answer | CallError = self._service.send(call, dropped)
                    except CallError as error:
                        outcome = error
                        if error.retry_after is not None and error.retry_after <= self._backoff.patience:
                            self._not_before = max(self._not_before, self._clock.now() + error.retry_after)
                    return outcome, time.perf_counter() - began
            self._clock.wait(self._stop(), pause)

    def _read(self, call: Call, answer: Answer, seconds: float) -> tuple[Reply, Charge]:
        """The answer as a record, and what it took; tokens that the service did not count are estimated."""
        tokens_in = _estimate(call.messages) if answer.tokens_in is None else answer.tokens_in
        tokens_out = len(answer.text.encode()) // BYTES_PER_TOKEN + 1 if answer.tokens_out is None else answer.tokens_out
        charge = self._charge(tokens_in, tokens_out)
        if answer.finish == REFUSED:
            return Failure(kind=REFUSED, message=" ".join(answer.text.split())[:300] or "the service withheld it"), charge
        return (
            Generation(text=answer.text, finish=answer.finish, tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds),
            charge,
        )

    def _settle(self, reservation: Reservation, outcome: str, charge: Charge, seconds: float, reply: Reply | None = None) -> None:
        """Books how a call ended; a database that is away for a moment must not cost an answer."""
        self.account.made(charge, answered=reply is not None)
        for attempt in range(BOOKING_TRIES):
            try:
                self._ledger.settle(reservation, outcome, charge, seconds, reply)
                return
            except OperationalError:
                if attempt == BOOKING_TRIES - 1:
                    raise
                time.sleep(2.0**attempt)

    def _charge(self, tokens_in: int, tokens_out: int) -> Charge:
        return Charge(tokens_in, tokens_out, self._price.of(tokens_in, tokens_out) if self._price else None)

    def _drops(self, error: CallError, dropped: frozenset[Part]) -> bool:
        """Whether the call is to be made again without a part that the model does not take; so are all later ones."""
        part = refused_part(error.message) if error.kind == REJECTED else None
        if part is None or part in dropped:
            return False
        with self._lock:
            if part not in self._dropped:
                self._dropped |= {part}
                logger.warning("%s does not take %s, so it is left out: %s", self.model, part, error.message)
        return True

    def _give_up(self, error: CallError, met: "_Troubles") -> None:
        """Raises what the error means, if another try is of no use.

        An error that other calls do not meet is the item's; one that nobody gets past is the service's.
        """
        told = f"{error.kind}: {error.message}"
        if error.kind in {DENIED, UNKNOWN}:
            raise TeacherError(f"{self.model}: {told}; correct the key, the region or the model's name") from None
        alone = Failure(kind=error.kind, message=error.message)
        if error.kind not in PASSING or (met.tries >= self._backoff.tries and self._answered_at > met.since):
            raise ItemFailed(alone) from None
        silent = self._clock.now() - max(met.since, self._answered_at)
        if error.kind in MAYBE_PAID:
            if met.paid < self._backoff.tries:
                return
        elif max(silent, error.retry_after or 0.0) <= self._backoff.patience:
            self._warn(told, met)
            return
        if error.kind != THROTTLED and self._answered_at > met.began:
            raise ItemFailed(alone) from None
        if error.kind == THROTTLED:
            raise TeacherError(f"{self.model}: {told}; it lets no call through: run again later, and it continues") from None
        how = f"{met.paid} times" if error.kind in MAYBE_PAID else f"for {silent:.0f} s"
        raise TeacherError(f"{self.model}: {told}, {how}; see to the service and run again, and it continues") from None

    def _warn(self, told: str, met: "_Troubles") -> None:
        """Says once that the service is waited for, when it was tried as often as any other call is."""
        if met.waits == self._backoff.tries and self._warned_of != self._answered_at:
            self._warned_of = self._answered_at
            logger.warning("%s: %s; it is waited for, at most %.0f s", self.model, told, self._backoff.patience)

    def _back_off(self, error: CallError, waits: int) -> None:
        """Waits before another try: as long as the service asks and a little more, lest all come at once; else by the backoff."""
        seconds = self._backoff.seconds(waits)
        self._wait(seconds if error.retry_after is None else error.retry_after + min(seconds, self._backoff.first))

    def _wait(self, seconds: float) -> None:
        """Sleeps, or raises Stopped as soon as the run has ended."""
        if self._clock.wait(self._stop(), max(0.0, seconds)):
            raise Stopped

    def _stop(self) -> threading.Event:
        """Set when the run that this thread works for has ended; outside of a run it never is."""
        if not hasattr(self._run, "stop"):
            self._run.stop = threading.Event()
        stop: threading.Event = self._run.stop
        return stop


def _next(finished: "SimpleQueue[Future[R]]") -> Future[R]:
    """The next finished future. It looks up now and then, because an exception reaches a thread only while it runs."""
    while True:
        try:
            return finished.get(timeout=LOOK)
        except Empty:
            continue


def _estimate(messages: Messages) -> int:
    """Tokens of a chat that no tokenizer has seen, rather too many than too few."""
    return sum(len(message["content"].encode()) // BYTES_PER_TOKEN + 8 for message in messages)
