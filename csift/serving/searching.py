"""Concurrent searches, made together."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from csift.interfaces import Retriever
from csift.schemas import Hit


class Together:
    """A retriever that embeds the questions of all who wait at once, always in one thread: torch makes every new thread pay for
    threads of its own, and one batch takes little longer than one question."""

    def __init__(self, retriever: Retriever) -> None:
        self.id = retriever.id
        self._retriever = retriever
        self._waiting: list[tuple[Sequence[str], int, Future[list[list[Hit]]]]] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """As the retriever's own."""
        found: Future[list[list[Hit]]] = Future()
        with self._lock:
            self._waiting.append((questions, k, found))
        self._thread.submit(self._search_all)
        return found.result()

    def _search_all(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        for k in {k for _, k, _ in batch}:
            asked = [(questions, future) for questions, wanted, future in batch if wanted == k]
            try:
                hits = iter(self._retriever.search([question for questions, _ in asked for question in questions], k))
            except BaseException as error:  # noqa: BLE001 - raised where the search was asked for
                for _, future in asked:
                    future.set_exception(error)
                continue
            for questions, future in asked:
                future.set_result([next(hits) for _ in questions])
