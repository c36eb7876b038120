"""The DSPy program that answers questions: retrieve, then answer from the excerpts.

Not covered yet: optimised and closed-book programs.
"""

from functools import lru_cache
from typing import Any

from csift.interfaces import Retriever
from csift.prompts import answer_signature, join_excerpts, signature_hash


@lru_cache(maxsize=1)
def _program_class() -> Any:
    import dspy

    class StandardRag(dspy.Module):
        """Retrieve k chunks, answer from them."""

        def __init__(self, retriever: Retriever, k: int) -> None:
            super().__init__()
            self.retriever = retriever
            self.k = k
            self.answer = dspy.Predict(answer_signature())

        def forward(self, question: str) -> Any:
            hits = self.retriever.search([question], self.k)[0]
            contexts = [hit.text for hit in hits]
            prediction = self.answer(excerpts=join_excerpts(contexts), question=question)
            return dspy.Prediction(answer=prediction.answer, contexts=contexts)

    return StandardRag


def standard_program(retriever: Retriever, k: int) -> Any:
    """A dspy.Module: question → answer and contexts (list of chunk texts, best first)."""
    return _program_class()(retriever, k)


def standard_program_hash() -> str:
    """Hash of the standard program's compiled state: it has no demonstrations, so of its prompt."""
    return signature_hash(answer_signature())
