"""Forgetting: the general question set asked of a model before and after training, and what changed.

Training on a domain takes other skills away (see csift.general). The questions are asked without retrieval and without the
corpus: one with passages in the prompt that serving uses, with those passages as its excerpts; the others as a bare chat turn.
Answers are graded by rules. What a model scored is stored once, so that only the new adapter is asked each night.

Not covered: promotion does not depend on it yet.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.judging import GeneralScoreRow, RetentionRow
from csift.exceptions import GateError
from csift.general import GENERAL_ID, GENERAL_QUESTIONS, SKILLS, GeneralQuestion
from csift.hashing import content_id
from csift.interfaces import Messages, Progress, no_progress
from csift.intervals import bootstrap_mean
from csift.judges import PARSER_VERSION, mark_answer
from csift.llm import LanguageModel
from csift.prompts import answer_prompt
from csift.schemas import (
    Cycle,
    Failure,
    GeneralAnswer,
    GeneralScore,
    GenerationParams,
    Interval,
    JudgeItem,
    Retention,
    SkillRetention,
    System,
)
from csift.textmatch import is_refusal, tokens

MAX_NEW_TOKENS = 24  # the longest right answer takes 12; a model that talks gives it within its first sentence
CORRECT_FROM = 0.6  # the reference judge's mark from which an answer counts as right
GRADER = content_id("grader", [1, PARSER_VERSION, CORRECT_FROM])  # raise the 1 whenever a verdict of `is_right` could change
CONFIDENCE, RESAMPLES, SEED = 0.95, 10_000, 0

STAGE = "forgetting"  # of a cycle

Ask = Callable[[System], LanguageModel]
NOTHING_SCORED: Mapping[str, GeneralScore] = MappingProxyType({})


def retention(
    db: Database,
    before: System,
    after: System,
    ask: Ask,
    progress: Progress = no_progress,
    scored: Mapping[str, GeneralScore] = NOTHING_SCORED,
) -> Retention:
    """What `after` still gets right, paired question by question with `before` and with its own base model, untrained.

    `before` is the System that `after` would replace. The untrained model is there because small losses add up: a champion
    that forgot a little each night is no measure of what was there at first. Of a custom model on Bedrock there is none to ask.

    Args:
        ask: the model of a System; only called for those that have no score.
        scored: scores that are at hand, by `score_id`; of a model that costs while it serves, made while it did.

    Raises:
        GateError: a model answered not one question.
        CsiftError: whatever `LanguageModel.map` raises.
    """
    untrained = None if after.custom_model else without_adapter(after)
    # The newest first: it was the last to be evaluated, so its weights are loaded.
    unscored = [one for one in (after, before, untrained) if one and score_id(one) not in scored]
    scores = {**scored, **score(db, unscored, ask, progress)}
    at_first = scores[score_id(untrained)] if untrained else None
    made = compare(before, after, at_first, scores[score_id(before)], scores[score_id(after)])
    row = {
        "id": made.id,
        "record": made.model_dump(mode="json"),
        "before_system_id": before.id,
        "after_system_id": after.id,
        "low": made.difference.low,
        "high": made.difference.high,
    }
    with db.session() as session:
        session.execute(insert(RetentionRow).values(row).on_conflict_do_nothing())
    return made


def of_cycle(db: Database, cycle: Cycle) -> Retention | None:
    """What a cycle found, or None when it did not come so far."""
    id_ = next((stage.record_id for stage in cycle.stages if stage.stage == STAGE), None)
    if id_ is None:
        return None
    with db.session() as session:
        return Retention.model_validate(session.get_one(RetentionRow, id_).record)


def without_adapter(system: System) -> System:
    """The same System on its bare base model."""
    parts = {name: getattr(system, name) for name in System.model_fields if name != "id"}
    return System.of(**{**parts, "adapter_id": None})


def score_id(system: System) -> str:
    """The id of what a System's model scores: weights, how it generates, what it is asked, who grades. Not its retrieval."""
    asked = [list(_chat(question)) for question in GENERAL_QUESTIONS]
    answers = [system.base_revision, system.adapter_id, _params(system).model_dump()]
    return content_id("general-score", [GENERAL_ID, asked, GRADER, answers])


# --- grading ----------------------------------------------------------------------------------------------------------

# "The answer to the question is: No." says no; it is how small models begin.
_PREFACE = re.compile(r"^(?:the )?answer(?: to (?:the|this|your) question)? ?(?:is\b|:) ?:?\s*", re.IGNORECASE)
_QUOTES = " \n\"'“”‘’"
_OPTIONS = re.compile(r"(\w+), (\w+) (?:or|and) (\w+)\?$")


def is_right(question: GeneralQuestion, answer: str) -> bool:
    """Whether an answer is right, by rules.

    Only `format` asks for an exact form. Everywhere else a whole sentence is as good as a word: training makes answers
    shorter, and a rule that wanted them short would take that for knowledge gained.
    """
    if question.skill == "format":
        return any(_same_form(answer, wanted) for wanted in question.answers)
    said = _PREFACE.sub("", answer.strip(_QUOTES)).rpartition("=")[2]  # of "6 * 4 = 24" the result
    if question.skill == "refusal":
        return is_refusal(said)
    if question.skill == "ordering" and "," in question.answer:
        return any(_in_order(said, wanted) for wanted in question.answers)
    return _only_option(question, said) and any(_says(question, said, wanted) for wanted in question.answers)


def _says(question: GeneralQuestion, said: str, wanted: str) -> bool:
    """By the reference judge's rules for numbers, words, yes and no, without embeddings."""
    item = JudgeItem(question=question.question, gold=wanted, answer=said, contexts=question.context)
    return mark_answer(item).value >= CORRECT_FROM


def _same_form(answer: str, wanted: str) -> bool:
    """The same characters, but for quotes around it, a full stop after it, and capitals where capitals were not asked for."""
    said = " ".join(answer.split()).strip(_QUOTES).removesuffix(".").strip(_QUOTES)
    return said == wanted if wanted.isupper() and len(wanted) > 1 else said.lower() == wanted.lower()


def _in_order(said: str, wanted: str) -> bool:
    """The items that the answer names last, one for each that is wanted, are the wanted ones in their order."""
    items = tokens(wanted)
    named = [word for word in tokens(said) if word in items]
    return named[-len(items) :] == items


def _only_option(question: GeneralQuestion, said: str) -> bool:
    """Of a question's "October, March or July?" one is named; who names all of them has not chosen."""
    options = _OPTIONS.search(question.question)
    if options is None:
        return True
    return sum(set(tokens(option)) <= set(tokens(said)) for option in options.groups()) == 1


# --- asking -----------------------------------------------------------------------------------------------------------


def _params(system: System) -> GenerationParams:
    return system.generation.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})


def _chat(question: GeneralQuestion) -> Messages:
    if question.context:
        return answer_prompt(question.question, question.context)
    return [{"role": "user", "content": question.question}]


def score(db: Database, systems: Sequence[System], ask: Ask, progress: Progress = no_progress) -> Mapping[str, GeneralScore]:
    """Score by id (`score_id`), one for each of the Systems' models; those not stored are made.

    Raises:
        GateError: a model answered not one question.
        CsiftError: whatever `LanguageModel.map` raises.
    """
    wanted = {score_id(system): system for system in reversed(systems)}  # of two with one model, the first stays
    ids = sorted(wanted, key=lambda id_: systems.index(wanted[id_]))
    with db.session() as session:
        rows = {id_: session.get(GeneralScoreRow, id_) for id_ in ids}
    scores = {id_: GeneralScore.model_validate(row.record) for id_, row in rows.items() if row}
    missing = [id_ for id_ in ids if id_ not in scores]
    each = len(GENERAL_QUESTIONS)
    for place, id_ in enumerate(missing):

        def report(stage: str, done: int, total: int, note: str = "", before: int = place * each) -> None:
            progress(stage, before + done, each * len(missing), note)

        scores[id_] = _score(id_, wanted[id_], _answers(ask(wanted[id_]), _params(wanted[id_]), report))
        _store(db, scores[id_])
    return scores


def _answers(model: LanguageModel, params: GenerationParams, progress: Progress) -> list[str | Failure]:
    from dspy.lm15 import Config, Message, Request

    config = Config(max_tokens=params.max_new_tokens, temperature=params.temperature, seed=params.seed)

    def one(question: GeneralQuestion) -> str:
        *system, turn = _chat(question)
        request = Request(
            model=model.lm.model,
            system=system[0]["content"] if system else None,
            messages=(Message.user(turn["content"]),),
            config=config,
        )
        return str(model.lm(request).text or "").strip()

    return model.map(one, GENERAL_QUESTIONS, progress, STAGE)


def _score(id_: str, system: System, outcomes: Sequence[str | Failure]) -> GeneralScore:
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if len(failures) == len(outcomes):
        raise GateError(
            f"not one of {len(outcomes)} general questions was answered by {system.base_model} with "
            f"{system.adapter_id or 'no adapter'}: {failures[0].message}; mend the model and run again"
        )
    answers = tuple(
        GeneralAnswer(question_id=question.id, answer="", correct=None, failure=outcome)
        if isinstance(outcome, Failure)
        else GeneralAnswer(question_id=question.id, answer=outcome, correct=is_right(question, outcome), failure=None)
        for question, outcome in zip(GENERAL_QUESTIONS, outcomes, strict=True)
    )
    return GeneralScore(
        id=id_,
        general_id=GENERAL_ID,
        grader=GRADER,
        base_model=system.base_model,
        base_revision=system.base_revision,
        adapter_id=system.adapter_id,
        generation=_params(system),
        answers=answers,
    )


def _store(db: Database, score: GeneralScore) -> None:
    """Keeps a whole score. One with failures is not kept: next time its failed questions are asked again, and only those, for
    the other answers are in the ledger."""
    if any(answer.failure for answer in score.answers):
        return
    row = {
        "id": score.id,
        "record": score.model_dump(mode="json"),
        "general_id": score.general_id,
        "base_revision": score.base_revision,
        "adapter_id": score.adapter_id,
    }
    with db.session() as session:
        session.execute(insert(GeneralScoreRow).values(row).on_conflict_do_nothing())


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(before: System, after: System, untrained: GeneralScore | None, old: GeneralScore, new: GeneralScore) -> Retention:
    """The scores paired, over the questions that all of them answered. Pure; the same scores give the same record."""
    scores = [old, new, *([untrained] if untrained else [])]
    rows = list(zip(GENERAL_QUESTIONS, *(score.answers for score in scores), strict=True))
    answered = [(question.skill, [a.correct for a in rest]) for question, *rest in rows if all(a.failure is None for a in rest)]
    right = np.array([marks for _, marks in answered], dtype=float).reshape(len(answered), len(scores))
    of_skill = np.array([skill for skill, _ in answered])
    counts = right.sum(axis=0)
    parts = {
        "general_id": GENERAL_ID,
        "grader": GRADER,
        "before_system_id": before.id,
        "after_system_id": after.id,
        "untrained_score_id": untrained.id if untrained else None,
        "before_score_id": old.id,
        "after_score_id": new.id,
        "questions": len(answered),
        "failures": len(rows) - len(answered),
        "untrained": int(counts[2]) if untrained else None,
        "before": int(counts[0]),
        "after": int(counts[1]),
        "confidence": CONFIDENCE,
        "difference": _difference(right[:, 1] - right[:, 0]).model_dump(),
        "since_untrained": _difference(right[:, 1] - right[:, 2]).model_dump() if untrained else None,
        "skills": [_skill(skill, right[of_skill == skill]).model_dump() for skill in SKILLS],
    }
    return Retention.model_validate({"id": content_id("retention", parts), **parts})


def _difference(differences: NDArray[np.float64]) -> Interval:
    return bootstrap_mean(differences, CONFIDENCE, RESAMPLES, SEED, span=(-1.0, 1.0))


def _skill(skill: str, right: NDArray[np.float64]) -> SkillRetention:
    before, after, *untrained = (int(count) for count in right.sum(axis=0))
    return SkillRetention(
        skill=skill, questions=len(right), untrained=untrained[0] if untrained else None, before=before, after=after
    )
