"""The answering programs as DSPy modules, and the one that a System names."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

from csift.exceptions import ModelError
from csift.interfaces import ObjectStore, Program, Retriever
from csift.prompts import answer_signature, join_excerpts, signature_hash
from csift.rag.compiled import Compiled, load_compiled
from csift.schemas import System
from csift.textmatch import REFUSAL


class _Held:
    """A retriever that stays one object when DSPy's optimisers copy the program: an index is not copied."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self


@lru_cache(maxsize=1)
def rag_class() -> Any:
    """The class of the standard and the optimised program."""
    import dspy

    class Rag(dspy.Module):
        """Retrieve k chunks, answer from them."""

        def __init__(self, retriever: Retriever, k: int, hash_: str) -> None:
            super().__init__()
            self.held = _Held(retriever)
            self.k = k
            self.hash = hash_
            self.answer = dspy.Predict(answer_signature())

        def forward(self, question: str) -> Any:
            hits = self.held.retriever.search([question], self.k)[0]
            contexts = [hit.text for hit in hits]
            prediction = self.answer(excerpts=join_excerpts(contexts), question=question)
            return dspy.Prediction(answer=prediction.answer, contexts=contexts, hits=hits)

    return Rag


@lru_cache(maxsize=1)
def _closed_book_class() -> Any:
    import dspy

    class ClosedBook(dspy.Module):
        """Answer from what the model knows."""

        def __init__(self) -> None:
            super().__init__()
            self.hash = closed_book_hash()
            self.answer = dspy.Predict(closed_book_signature())

        def forward(self, question: str) -> Any:
            return dspy.Prediction(answer=self.answer(question=question).answer, contexts=[], hits=[])

    return ClosedBook


@lru_cache(maxsize=1)
def closed_book_signature() -> Any:
    """The task of a model that is asked without excerpts."""
    import dspy

    class AnswerFromMemory(dspy.Signature):
        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

    return AnswerFromMemory.with_instructions(
        "Answer the question. Reply with the answer only, in as few words as possible. "
        f"If there is no answer to it, reply: {REFUSAL}"
    )


def standard_program(retriever: Retriever, k: int) -> Any:
    """A dspy.Module: question → answer, contexts (list of chunk texts, best first) and hits (the same as Hit)."""
    return rag_class()(retriever, k, standard_program_hash())


def standard_program_hash() -> str:
    """Hash of the standard program's compiled state: it has no demonstrations, so of its prompt."""
    return signature_hash(answer_signature())


def optimised_program(retriever: Retriever, k: int, compiled: Compiled) -> Any:
    """The standard program with the instructions and demonstrations that an optimiser found.

    Raises:
        ModelError: it was compiled for another prompt format.
    """
    compiled.require_format()
    program = rag_class()(retriever, k, compiled.hash)
    program.answer.signature = program.answer.signature.with_instructions(compiled.instructions)
    program.answer.demos = compiled.examples()
    return program


def closed_book_program() -> Any:
    """A dspy.Module: question → answer, without excerpts; `contexts` is empty."""
    return _closed_book_class()()


def closed_book_hash() -> str:
    """Hash of the closed-book program: of its prompt."""
    return signature_hash(closed_book_signature())


def program_of(system: System, retriever: Retriever, store: ObjectStore) -> Program:
    """The program that a System names, a compiled one from where `save_compiled` put it.

    Raises:
        ModelError: this csift asks with another prompt than the System was made with.
        StorageError: the compiled program is not in the store, or is not the one that the System names.
    """
    if system.program == "optimised":
        return optimised_program(retriever, system.k, load_compiled(store, system.program_hash))
    program = closed_book_program() if system.program == "closed-book" else standard_program(retriever, system.k)
    if program.hash != system.program_hash:
        raise ModelError(
            f"{system.id} asks with the prompt {system.program_hash} and this csift with {program.hash}; train and judge it again"
        )
    return program
