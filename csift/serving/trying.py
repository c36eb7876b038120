"""The challenger that is tried beside the champion: as canary it answers its share of the sessions, as shadow it answers again
what the champion answered, when nobody waits for an answer."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from csift import trials
from csift.db.connection import CUT, Database
from csift.db.serving import ShadowAnswerRow
from csift.exceptions import CsiftError
from csift.hashing import sha256
from csift.registry import load
from csift.schemas import Failure, ServedAnswer, ShadowAnswer, System, Trial, TrialKind
from csift.serving.access import Queue
from csift.serving.answering import LOOK, WARM_UP, Answerer, Champion, Told, answered
from csift.serving.answers import insist
from csift.serving.following import Follower

ROOM = 64  # questions that wait for a shadow; more are left out
Pause = Callable[[], None]


@dataclass(frozen=True)
class Challenger:
    """Who is tried, and how."""

    trial: Trial
    answerer: Answerer

    def takes(self, session: str) -> bool:
        """Whether a session is of the trial's share: by its hash, so the same in every server, and a larger share has all those
        of a smaller one."""
        return int(sha256(f"{self.trial.system_id} {session}")[:12], 16) < self.trial.share * 16**12


class Trying:
    """Follows the trial of a project that goes on, if any."""

    def __init__(
        self,
        db: Database,
        champion: Champion,
        ready: Callable[[System, Pause | None], Answerer],
        people: Queue,
        scrub: Callable[[str], str],
        tell: Callable[[str], None],
        room: int = ROOM,
    ) -> None:
        """`ready` makes an Answerer that calls the Pause, where one is given, before each step of its work; `people` are those
        whom it then lets go first; `room` is how many questions wait for a shadow at most."""
        self._db, self._champion, self._ready, self._people, self._scrub, self._tell = db, champion, ready, people, scrub, tell
        self._end = threading.Event()
        self._follower = Follower("trial", LOOK, self.look, lambda: "cannot look for a challenger", tell)
        self._lock = threading.Lock()
        self._counted = {"dropped": 0, "failed": 0}
        self._waiting: queue.Queue[tuple[Challenger, ServedAnswer]] = queue.Queue(room)
        self._paused = 0.0  # seconds, of the shadow's present answer
        self.now: Challenger | None = None

    def follow(self) -> None:
        """Starts looking for a trial every second, and answering as shadow."""
        self._follower.start()
        threading.Thread(target=self._answer_all, name="shadow", daemon=True).start()

    def close(self) -> None:
        """Stops both; questions that still wait for a shadow are left out."""
        self._end.set()
        self._follower.stop()
        self._count(dropped=self._waiting.qsize())
        try:
            self._write_counts()
        except CUT as error:
            self._tell(f"{sum(self._counted.values())} questions that the challenger left out are not counted: {error}")

    @property
    def canary(self) -> Challenger | None:
        """Who answers some of the sessions, if anybody does."""
        return self._living("canary")

    def answer(self, model: str, session: str, question: str) -> tuple[Answerer, Told] | None:
        """The canary's answer; None where the champion is to answer, also because the canary could not."""
        found = self.canary
        if found is None or not (model == found.trial.system_id or (model == self._champion.project and found.takes(session))):
            return None
        told = self._told(found, question)
        return (found.answerer, told) if told else None

    def shadow(self, answer: ServedAnswer, session: str) -> None:
        """Leaves the question of an answer that was given to the shadow, if there is one; never waits."""
        challenger = self._living("shadow")
        if challenger is None or not challenger.takes(session):
            return
        try:
            self._waiting.put_nowait((challenger, answer))
        except queue.Full:
            self._count(dropped=1)

    def look(self) -> None:
        """Follows the trial that goes on."""
        self._write_counts()
        trial = trials.newest(self._db, self._champion.project)
        if trial is None or trial.ended_at is not None:
            self._stop(trial)
        elif self.now is None or self.now.trial.id != trial.id:
            self._stop(None)
            self._start(trial)

    def _living(self, kind: TrialKind) -> Challenger | None:
        """Who is tried so, while the champion is the one that it is tried against."""
        found = self.now
        if found is None or found.trial.kind != kind or found.trial.champion_id != self._champion.now.system.id:
            return None
        return found

    def _start(self, trial: Trial) -> None:
        try:
            system = load(self._db, System, trial.system_id)
            made = self._ready(system, self._pause if trial.kind == "shadow" else None)
            made.answer(WARM_UP)  # loads the weights before anybody waits for them
        except CsiftError as error:
            trials.end(self._db, trial.project, f"it cannot be loaded: {error}", trial.id)
            self._tell(f"the {trial.kind} {trial.system_id} cannot be loaded, and ends: {error}")
            return
        self.now = Challenger(trial, made)
        does = "answers" if trial.kind == "canary" else "answers unseen"
        self._tell(f"{trial.system_id} {does} {trial.share:.0%} of the sessions, as {trial.kind}")

    def _stop(self, ended: Trial | None) -> None:
        before, self.now = self.now, None
        if before:
            why = f": {ended.reason}" if ended and ended.id == before.trial.id else ""
            self._tell(f"the {before.trial.kind} of {before.trial.system_id} has ended{why}")

    def _told(self, challenger: Challenger, question: str) -> Told | None:
        try:
            told = challenger.answerer.answer(question)
        except CsiftError as error:
            told = Failure(kind=type(error).__name__, message=str(error))
        if not isinstance(told, Failure):
            return told
        self._count(failed=1)
        self._tell(f"the {challenger.trial.kind} {challenger.trial.system_id} gave no answer: {told.message}")
        return None

    def _pause(self) -> None:
        """Lets people's questions go first, between two passes of the shadow's model."""
        began = time.perf_counter()
        while self.now and not self._end.is_set() and not self._people.wait_until_empty(LOOK):
            pass
        self._paused += time.perf_counter() - began

    def _answer_all(self) -> None:
        while not self._end.is_set():
            try:
                challenger, answer = self._waiting.get(timeout=LOOK)
            except queue.Empty:
                continue
            if challenger is self.now:
                self._answer(challenger, answer)

    def _answer(self, challenger: Challenger, answer: ServedAnswer) -> None:
        self._paused = 0.0
        began = time.perf_counter()
        told = self._told(challenger, answer.question)
        seconds = time.perf_counter() - began - self._paused
        if told is None:
            return
        said = answered(challenger.answerer.system, told, seconds)
        made = ShadowAnswer(answer_id=answer.id, project=answer.project, **{**said, "answer": self._scrub(told.text)})
        row = {**made.model_dump(include={"answer_id", "project", "system_id", "at"}), "record": made.model_dump(mode="json")}
        insist(self._db, ShadowAnswerRow, [row], self._end, self._tell)

    def _count(self, dropped: int = 0, failed: int = 0) -> None:
        with self._lock:
            self._counted["dropped"] += dropped
            self._counted["failed"] += failed

    def _write_counts(self) -> None:
        counted = dict(self._counted)
        if self.now and any(counted.values()):
            trials.count(self._db, self.now.trial.id, **counted)
            self._count(**{name: -number for name, number in counted.items()})
