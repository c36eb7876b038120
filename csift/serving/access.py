"""Who may ask, how often, and how many at once."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from csift.db.connection import Database
from csift.hashing import sha256
from csift.schemas import ApiKey, Role
from csift.serving import keys
from csift.serving.following import Follower

RANK: dict[Role, int] = {"ask": 0, "review": 1, "operate": 2}
LOOK = 2.0  # seconds between two looks at the keys


@dataclass(frozen=True)
class Caller:
    """Who asks: the id of an API key with its name, or nobody's where none is needed."""

    key: str | None
    role: Role
    name: str | None = None

    def may(self, role: Role) -> bool:
        """Whether this caller may do what `role` may."""
        return RANK[self.role] >= RANK[role]


class Denied(Exception):
    """A request that is not answered. `retry_after` in seconds, where waiting helps."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class Doors:
    """Lets callers in by their keys. The keys are in memory, so that no request waits for Postgres."""

    def __init__(self, db: Database, project: str, open_to_all: bool, tell: Callable[[str], None]) -> None:
        self._db, self._project, self.open = db, project, open_to_all
        self._known: dict[str, ApiKey] = {}
        self._follower = Follower("keys", LOOK, self.look, lambda: "cannot read the API keys, those known stay valid", tell)
        self.look()

    def look(self) -> None:
        """Reads the keys anew."""
        self._known = {key.sha256: key for key in keys.living(self._db, self._project)}

    def follow(self) -> None:
        """Starts looking at the keys every two seconds."""
        self._follower.start()

    def close(self) -> None:
        """Stops looking."""
        self._follower.stop()

    def admit(self, secret: str | None) -> Caller:
        """Who holds this key. Raises Denied when nobody does and one is needed."""
        # The dictionary is asked for a hash of what was shown, so that the time it takes tells nothing of the keys.
        key = self._known.get(sha256(secret)) if secret else None
        if key is None and self.open:  # OpenAI's clients always show some key
            return Caller(None, "operate")
        if key is None:
            raise Denied(401, "invalid_api_key", "show a valid key as `Authorization: Bearer csift-...`; see `csift keys create`")
        return Caller(key.id, key.role, key.name)

    def admit_again(self, id_: str | None) -> Caller:
        """Who signed in with the key of this id. Raises Denied when it is valid no longer and one is needed."""
        key = next((key for key in self._known.values() if key.id == id_), None)
        if key is None and self.open:
            return Caller(None, "operate")
        if key is None:
            raise Denied(401, "signed_out", "sign in with an API key first; a key that was revoked ends its sessions")
        return Caller(key.id, key.role, key.name)


class RateLimit:
    """At most `per_minute` requests of one caller a minute: a bucket that fills steadily (token bucket)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._room, self._clock = per_minute / 60, float(per_minute), clock
        self._left: dict[str | None, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, caller: str | None) -> None:
        """Counts a request. Raises Denied when the caller has to wait."""
        with self._lock:
            now = self._clock()
            left, since = self._left.get(caller, (self._room, now))
            left = min(self._room, left + (now - since) * self._rate)
            self._left[caller] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if left < 1:
            wait = math.ceil((1 - left) / self._rate)
            raise Denied(429, "rate_limit_exceeded", f"too many requests with this key; try again in {wait} s", wait)


class Queue:
    """At most `room` requests at once; more are sent away at once instead of waiting ever longer."""

    def __init__(self, room: int) -> None:
        self._room, self._inside, self._seconds = room, 0, 1.0
        self._lock = threading.Condition()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for the length of the block. Raises Denied when there is none."""
        with self._lock:
            if self._inside >= self._room:
                wait = max(1, math.ceil(self._seconds))
                raise Denied(429, "overloaded", f"{self._room} requests are being answered; try again in {wait} s", wait)
            self._inside += 1
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._seconds += 0.1 * (time.monotonic() - began - self._seconds)  # of late requests, as who waits will see
                if not self._inside:
                    self._lock.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Whether nobody has a place, now or within so many seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._inside, seconds)
