"""What stages hold: a model on which DSPy programs are run over many items."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cached_property
from typing import Any, TypeVar

from csift.db.connection import CUT
from csift.exceptions import CsiftError, TeacherError
from csift.interfaces import Progress, no_progress
from csift.llm.engine import Caller, DspyEngine, ItemFailed, language_model
from csift.llm.services import REJECTED
from csift.prompts import plain_adapter
from csift.schemas import Cost, Failure, Generation

T = TypeVar("T")
R = TypeVar("R")


class LanguageModel:
    """A model with its ledger and role. `id` goes into the records of what it made."""

    def __init__(self, caller: Caller, partition_id: str | None = None) -> None:
        self.id = caller.model
        self.role = caller.role
        self._caller = caller
        self._engine = DspyEngine(caller, partition_id)

    def booked_on(self, partition_id: str) -> "LanguageModel":
        """The same model, whose slots and budget it shares, for a partition of a backfill."""
        return LanguageModel(self._caller, partition_id)

    @cached_property
    def lm(self) -> Any:
        """The model as a `dspy.LM`."""
        return language_model(self._engine, self.role)

    @cached_property
    def adapter(self) -> Any:
        """How prompts are written: with DSPy's field markers for a served model, plainly for the small local one."""
        import dspy

        return dspy.ChatAdapter(use_json_adapter_fallback=False) if self._caller.structured else plain_adapter()

    def map(
        self, work: Callable[[T], R], items: Sequence[T], progress: Progress = no_progress, stage: str = ""
    ) -> list[R | Failure]:
        """`work` (which calls DSPy modules) on every item, several at once, results in order.

        An item is a Failure when the program cannot read the model's output (`unparsable`, or `truncated` when the output was
        cut off), when the model refused (`refused`), or when the call failed for this item alone (`rejected`, or the kind of the
        last error).

        Raises:
            TeacherError: the service refuses the key or model, stays away for longer than is waited for, or rejects every item.
            BudgetExhausted: the cycle's budget leaves no room for the next call. Calls in flight are booked first.
            CsiftError: what csift's own parts raise (a prompt that is too long, no database), without DSPy's wrapping.
        """
        import dspy
        from dspy.utils.exceptions import AdapterParseError, LMError

        def one(item: T) -> R | Failure:
            self._engine.take_spent()
            try:
                with dspy.context(lm=self.lm, adapter=self.adapter, disable_history=True):
                    return work(item)
            except AdapterParseError as error:
                cut = any(generation.finish == "length" for generation in self._engine.take_spent())
                return Failure(kind="truncated" if cut else "unparsable", message=str(error).splitlines()[0])
            except ItemFailed as failed:
                return failed.failure
            except LMError as error:
                if isinstance(error.__cause__, ItemFailed):
                    return error.__cause__.failure
                if isinstance(error.__cause__, (CsiftError, *CUT)):
                    raise error.__cause__ from None
                raise

        progress(stage, 0, len(items))
        around = copy_context()  # of which the threads know nothing: whose work it is, and the span that it belongs to
        results = self._caller.run(
            lambda item: around.copy().run(one, item), items, lambda done: progress(stage, done, len(items))
        )
        rejected = [result for result in results if isinstance(result, Failure) and result.kind == REJECTED]
        if rejected and len(rejected) == len(results):
            raise TeacherError(
                f"{self.id} rejects every one of {len(results)} requests: {rejected[0].message}; correct the model"
            )
        return results

    def take_spent(self) -> list[Generation]:
        """The generations of this thread's calls since it last asked, from the ledger or from the model."""
        return self._engine.take_spent()

    def usage(self) -> Cost:
        """What was spent through this object, and how many answers it took from the ledger."""
        return self._caller.account.cost()
