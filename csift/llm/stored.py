"""Answers that were had before, without the model: worth a try where asking it costs by the hour."""

import threading
from collections.abc import Callable, Sequence

from csift.exceptions import CsiftError
from csift.ledger import Call, Ledger, Reply
from csift.llm.engine import Account, R, T
from csift.llm.mapping import LanguageModel
from csift.schemas import GenerationParams


class NotStored(CsiftError):
    """The ledger lacks an answer of `model`, which must be asked for it."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"the ledger has not all answers of {self.model}; serve it and run again"


def stored_model(name: str, ledger: Ledger, role: str) -> LanguageModel:
    """A model as far as the ledger has its answers; it raises NotStored at the first that is not there."""
    return LanguageModel(LedgerReader(name, ledger, role))


class LedgerReader:
    """Answers calls from the ledger. They count as reused when a whole run had its answers, and not when it is begun again with
    the model itself."""

    structured = False

    def __init__(self, model: str, ledger: Ledger, role: str) -> None:
        self.model = model
        self.role = role
        self.default = GenerationParams()
        self.account = Account()
        self._ledger = ledger
        self._uncounted = Ledger(ledger.db)
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    def answer(self, call: Call) -> Reply:
        """Raises NotStored."""
        found = self._uncounted.find([call])
        if not found:
            raise NotStored(self.model)
        with self._lock:
            self._calls.append(call)
        return found[call.key]

    def run(self, one: Callable[[T], R], items: Sequence[T], done: Callable[[int], None]) -> list[R]:
        """One after another; `done` after each."""
        self._calls = []
        results = []
        for count, item in enumerate(items, 1):
            results.append(one(item))
            done(count)
        self.account.reused(len(self._ledger.find(self._calls)))
        return results
