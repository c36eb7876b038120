"""The DSPy programs that answer questions: standard (retrieve, then answer), optimised (the same, compiled), closed-book."""

from csift.rag.compiled import Compiled, load_compiled, save_compiled
from csift.rag.guard import refuse_held_out
from csift.rag.optimising import OPTIMISERS, Optimiser, Task, compile_program
from csift.rag.programs import (
    closed_book_hash,
    closed_book_program,
    closed_book_signature,
    optimised_program,
    program_of,
    standard_program,
    standard_program_hash,
)
from csift.rag.running import accuracy

__all__ = [
    "OPTIMISERS",
    "Compiled",
    "Optimiser",
    "Task",
    "accuracy",
    "closed_book_hash",
    "closed_book_program",
    "closed_book_signature",
    "compile_program",
    "load_compiled",
    "optimised_program",
    "program_of",
    "refuse_held_out",
    "save_compiled",
    "standard_program",
    "standard_program_hash",
]
