"""`csift gc`: what nothing refers to is removed from the object store, and old task results from Postgres."""

from csift.cleanup.collecting import RESULTS_KEPT, Collection, collect
from csift.cleanup.rule import Collected

__all__ = ["RESULTS_KEPT", "Collected", "Collection", "collect"]
