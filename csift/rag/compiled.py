"""What an optimiser made of the answering program: instructions and demonstrations, kept as JSON under their own hash.

DSPy would also save a program as a pickle, which runs code when it is read; csift neither writes nor reads one.
"""

import json
from typing import Any

from pydantic import ValidationError

from csift.exceptions import ModelError, StorageError
from csift.hashing import content_id
from csift.interfaces import ObjectStore
from csift.prompts import FORMAT_VERSION
from csift.schemas import Record


class Demonstration(Record):
    """A question with the answer to give; `excerpts` stand beside it where the program itself answered it rightly (bootstrapped),
    not where it is only labelled."""

    question: str
    answer: str
    excerpts: str | None


class Compiled(Record):
    """A compiled program. `optimiser` says how it came about; `hash` covers all that the prompt depends on, and that."""

    optimiser: str
    format: str
    instructions: str
    demonstrations: tuple[Demonstration, ...]

    @property
    def hash(self) -> str:
        """What System.program_hash is."""
        return content_id("program", self.model_dump(mode="json"))

    @classmethod
    def of(cls, optimiser: str, program: Any) -> "Compiled":
        """The compiled state of a program (csift.rag.programs)."""
        shown = tuple(
            Demonstration(question=demo["question"], answer=demo["answer"], excerpts=demo.get("excerpts"))
            for demo in program.answer.demos
        )
        return cls(
            optimiser=optimiser,
            format=FORMAT_VERSION,
            instructions=program.answer.signature.instructions,
            demonstrations=shown,
        )

    def examples(self) -> list[Any]:
        """The demonstrations as DSPy takes them."""
        import dspy

        return [
            dspy.Example(augmented=True, **demo.model_dump())
            if demo.excerpts is not None
            else dspy.Example(**demo.model_dump(exclude={"excerpts"}))
            for demo in self.demonstrations
        ]

    def require_format(self) -> None:
        """Raises ModelError when this csift would write the prompt otherwise."""
        if self.format != FORMAT_VERSION:
            raise ModelError(
                f"{self.hash} was compiled for the prompt format {self.format} and this csift writes {FORMAT_VERSION}; "
                "compile it again (csift benchmark)"
            )


def save_compiled(store: ObjectStore, compiled: Compiled) -> str:
    """Keeps it under its hash, which is returned; again is nothing new."""
    content = json.dumps(compiled.model_dump(mode="json"), ensure_ascii=False, indent=1, sort_keys=True)
    store.put(_key(compiled.hash), content.encode())
    return compiled.hash


def load_compiled(store: ObjectStore, hash_: str) -> Compiled:
    """The compiled program of this hash.

    Raises:
        StorageError: it is not there, cannot be read, or is another one than its name says.
    """
    if not store.has(_key(hash_)):
        raise StorageError(f"there is no compiled program {hash_} in {store.url}; compile it again (csift benchmark)")
    try:
        compiled = Compiled.model_validate_json(store.get(_key(hash_)))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise StorageError(f"{store.uri(_key(hash_))} is no compiled program: {first}; remove it and compile again") from None
    if compiled.hash != hash_:
        raise StorageError(f"{store.uri(_key(hash_))} was changed: its content is {compiled.hash}; remove it and compile again")
    return compiled


def _key(hash_: str) -> str:
    return f"programs/{hash_}.json"
