"""The arms of the benchmark and how they are named.

    base                    the base model, closed-book
    rag                     the base model in the standard program
    rag-bootstrap           the same program, optimised by DSPy; also rag-mipro, rag-gepa
    sft                     an adapter, closed-book; also cpt, cpt-sft, dpo, orpo, kto, ppo, grpo, rloo
    sft+rag                 the same adapter in the standard program; +rag-bootstrap in the optimised one, and so on
    data:45                 sft+rag of 45 training questions of people; data:all, data:45+synthetic likewise
    rag@openai/gpt-4o-mini  any of the first three with another model, served or local

Adapters that a preference or online method makes start from that of sft, as in docs/methods.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from csift.exceptions import ConfigError
from csift.schemas import Method

How = Literal["closed-book", "standard", "bootstrap", "mipro", "gepa"]
PROGRAMS: dict[str, How] = {"rag": "standard", "rag-bootstrap": "bootstrap", "rag-mipro": "mipro", "rag-gepa": "gepa"}
STAGES: dict[str, tuple[Method, ...]] = {
    "cpt": ("cpt",),
    "cpt-sft": ("cpt", "sft"),
    "sft": ("sft",),
    "dpo": ("sft", "dpo"),
    "orpo": ("orpo",),
    "kto": ("sft", "kto"),
    "ppo": ("sft", "reward", "ppo"),
    "grpo": ("sft", "grpo"),
    "rloo": ("sft", "rloo"),
}
REFERENCE = "rag"  # what every arm is compared with
ADAPTERS = ("cpt", "cpt-sft", "sft", "dpo", "orpo", "kto", "ppo", "grpo")
# Without mipro and gepa, which need a prompt model; name them beside `all` where there is one.
WHOLE = (
    "base", "rag", "rag-bootstrap", *ADAPTERS, *(f"{name}+rag" for name in ADAPTERS),
    "data:half", "data:all", "data:half+synthetic", "data:all+synthetic",
)  # fmt: skip
_DATA = re.compile(r"data:(all|half|\d+)(\+synthetic)?")


@dataclass(frozen=True)
class Arm:
    """One way to answer. `people` is how many training questions of people it learns from (None: all; 0.5: half), `model` another
    model than the project's base model."""

    name: str
    how: How
    stages: tuple[Method, ...] = ()
    people: int | float | None = None
    synthetic: bool = False
    model: str | None = None

    @property
    def closed_book(self) -> bool:
        """Reported, never gated: it answers from memory, and may have read the whole corpus."""
        return self.how == "closed-book"

    @property
    def reads_all(self) -> bool:
        """Its continued pre-training takes the text of every document, judged ones too; never a question."""
        return self.closed_book and "cpt" in self.stages

    @property
    def ablation(self) -> bool:
        """It tells what more data is worth."""
        return self.name.startswith("data:")


def arms_of(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms of these names, each once, in this order; `all` stands for WHOLE. The reference is always among them.

    Raises:
        ConfigError: there is no such arm.
    """
    wide = [part for name in names for part in (WHOLE if name == "all" else (name,))]
    wanted = list(dict.fromkeys(wide))
    if not wanted:
        raise ConfigError("benchmark.arms names no arm; name some, or `all`")
    if REFERENCE not in wanted:
        wanted.insert(0, REFERENCE)
    return tuple(arm_of(name) for name in wanted)


def arm_of(name: str) -> Arm:
    """The arm of this name. Raises ConfigError when there is none."""
    known, at, model = name.partition("@")
    adapter, plus, program = known.partition("+")
    if bool(at) == bool(model) and (known == "base" or known in PROGRAMS):
        return Arm(name, PROGRAMS.get(known, "closed-book"), model=model or None)
    if data := _DATA.fullmatch(name):
        people = {"all": None, "half": 0.5}.get(data[1], int(data[1]) if data[1].isdigit() else None)
        return Arm(name, "standard", ("sft",), people=people, synthetic=bool(data[2]))
    if not at and adapter in STAGES and (program in PROGRAMS if plus else True):
        return Arm(name, PROGRAMS[program] if plus else "closed-book", STAGES[adapter])
    raise ConfigError(
        f"there is no benchmark arm {name!r}; arms are base, {', '.join(PROGRAMS)} (each also with @model), {', '.join(STAGES)} "
        "(each also with +rag and so on), data:N, data:all, data:N+synthetic, and all"
    )
