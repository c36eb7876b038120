"""Who scores the answers."""

from typing import Literal

from pydantic import Field, model_validator

from csift.config.base import Section

AskingJudge = Literal["factuality", "graded", "rubric"]  # that ask a language model


class Criterion(Section):
    """What a rubric judge marks."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$", description="A word or two")
    description: str = Field(min_length=1, description="What the answer must do for a full mark")
    weight: float = Field(1.0, gt=0, le=100, description="In the weighted mean")


class JudgeMember(Section):
    """One judge of a panel."""

    name: Literal["reference", AskingJudge] = Field(description="As judge.name")
    model: str | None = Field(None, min_length=1, description="As judge.model")
    rubric: tuple[Criterion, ...] = Field((), description="As judge.rubric")
    usd_per_million_in: float | None = Field(None, ge=0, description="As judge.usd_per_million_in")
    usd_per_million_out: float | None = Field(None, ge=0, description="As judge.usd_per_million_out")

    @model_validator(mode="after")
    def _asks_or_not(self) -> "JudgeMember":
        _check_asked(self.name, self.model, self.rubric, (self.usd_per_million_in, self.usd_per_million_out))
        return self


class JudgeConfig(Section):
    """Who scores the answers."""

    name: Literal["reference", AskingJudge, "panel"] = Field(
        "reference", title="Judge", description="The reference judge needs no network; the others ask a model; see docs/judges.md"
    )
    model: str | None = Field(None, min_length=1, description="Of factuality, graded, rubric: as teacher.model")
    rubric: tuple[Criterion, ...] = Field((), description="What the rubric judge marks")
    members: tuple[JudgeMember, ...] = Field((), description="The judges of the panel, two or more")
    concurrency: int = Field(8, ge=1, le=256, description="Calls in flight at once to a served judge")
    max_tokens: int = Field(512, ge=16, description="Longest reply of a judge's model")
    usd_per_million_in: float | None = Field(None, ge=0, description="Price of a million prompt tokens, in place of litellm's")
    usd_per_million_out: float | None = Field(None, ge=0, description="Price of a million reply tokens, likewise")
    correct_from: float = Field(0.6, gt=0, le=1, description="Score from which an answer counts as correct")

    @model_validator(mode="after")
    def _judge_fits(self) -> "JudgeConfig":
        prices = (self.usd_per_million_in, self.usd_per_million_out)
        if self.name != "panel":
            if self.members:
                raise ValueError(f"members are a panel's; set name = panel or remove them from {self.name}")
            _check_asked(self.name, self.model, self.rubric, prices)
        elif self.model or self.rubric or prices != (None, None):
            raise ValueError("a panel asks its members; write model, rubric and prices into [[judge.members]]")
        elif len(self.members) < 2:
            raise ValueError("a panel needs two or more [[judge.members]]")
        elif len(set(self.members)) < len(self.members):
            raise ValueError("two members of the panel are the same; they would agree always")
        return self

    @property
    def asked(self) -> tuple[JudgeMember, ...]:
        """The panel's members, or the one judge that there is."""
        return self.members or (JudgeMember.model_validate(self.model_dump(include=set(JudgeMember.model_fields))),)


def _check_asked(name: str, model: str | None, rubric: tuple[Criterion, ...], prices: tuple[float | None, ...]) -> None:
    """Raises ValueError where a judge is told what it does not use, or not told what it needs."""
    if name == "reference" and (model or prices != (None, None)):
        raise ValueError("the reference judge asks no model; remove model and prices, or choose another name")
    if name != "reference" and not model:
        raise ValueError(f"the {name} judge asks a model; name it with model")
    if (name == "rubric") != bool(rubric):
        raise ValueError("the rubric judge needs criteria" if name == "rubric" else f"the {name} judge has no rubric; remove it")
    names = [criterion.name.casefold() for criterion in rubric]
    if len(set(names)) < len(names):
        raise ValueError("two criteria of the rubric have the same name")
