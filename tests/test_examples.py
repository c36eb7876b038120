"""The bundled catalogue, its questions and its traffic keep what the README promises of them."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from csift.config import LoopConfig, load_config
from csift.corpus.parsers import parse
from csift.labels import RawLabel, read_labels
from csift.textmatch import normalise

EXAMPLES = Path(__file__).parent.parent / "examples"
SECTIONS = ["Description", "Safety", "Configuration", "Operation"]


def texts(edition: int) -> dict[str, str]:
    """Product file → text."""
    return {path.name: parse(path.name, path.read_bytes()) for path in (EXAMPLES / f"catalogue-{edition}").glob("*.md")}


def questions(edition: int) -> list[RawLabel]:
    """The questions written for an edition."""
    return read_labels((EXAMPLES / f"questions-{edition}.jsonl",))


def traffic(edition: int) -> list[dict[str, str]]:
    """The questions customers asked."""
    return [json.loads(line) for line in (EXAMPLES / f"traffic-{edition}.jsonl").read_text("utf-8").splitlines()]


FIRST, SECOND = texts(1), texts(2)
EDITIONS = {1: FIRST, 2: SECOND}
NEW = SECOND.keys() - FIRST.keys()
ALL = [(edition, label) for edition in (1, 2) for label in questions(edition)]


# --- the catalogue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edition", [1, 2])
def test_an_edition_has_at_least_24_products_of_four_sections(edition: int) -> None:
    assert len(EDITIONS[edition]) >= 24
    for name, text in EDITIONS[edition].items():
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS, name
        assert len(re.findall(r"^# .+$", text, re.MULTILINE)) == 1, name
        for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            assert len(part.split()) > 40, (name, part)


def test_a_product_is_called_by_its_name_in_every_section() -> None:
    for edition, products in EDITIONS.items():
        for name, text in products.items():
            title = re.search(r"^# (\S+)", text)
            assert title, name
            for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
                assert title[1].lower() in section.lower(), (edition, name, section[:40])


def test_in_the_second_edition_some_products_changed_some_left_and_some_came() -> None:
    changed = {name for name in FIRST.keys() & SECOND.keys() if FIRST[name] != SECOND[name]}
    unchanged = (FIRST.keys() & SECOND.keys()) - changed
    assert len(changed) >= 3
    assert len(FIRST.keys() - SECOND.keys()) >= 2
    assert len(NEW) >= 3
    assert len(unchanged) >= 12
    for name in changed:  # a new edition, not another product
        before, after = (set(re.split(r"(?<=[.!?])\s+", products[name])) for products in (FIRST, SECOND))
        assert len(before & after) > len(before) / 2, name


# --- the questions --------------------------------------------------------------------------------------------------------


def test_there_are_as_many_questions_as_promised() -> None:
    assert Counter(label.split for label in questions(1)) == {"train": 180, "eval": 120, "golden": 60}
    assert len(questions(2)) == 60
    assert sum(label.style == "unanswerable" for label in questions(1)) == 20
    assert all((label.answer is None) == (label.style == "unanswerable") for _, label in ALL)


def test_every_question_has_an_id_and_wording_of_its_own() -> None:
    assert max(Counter(label.id for _, label in ALL).values()) == 1
    assert max(Counter(normalise(label.question) for _, label in ALL).values()) == 1


def test_every_question_is_about_a_product_of_its_edition() -> None:
    assert {label.document_id for label in questions(1)} <= FIRST.keys()
    assert {label.document_id for label in questions(2)} <= SECOND.keys()
    assert {label.document_id for label in questions(2)} >= NEW


def test_a_product_keeps_its_split_in_the_second_edition() -> None:
    splits: dict[str, set[str | None]] = {}
    for _, label in ALL:
        splits.setdefault(label.document_id, set()).add(label.split)
    assert {name: found for name, found in splits.items() if len(found) > 1} == {}


def test_every_factoid_answer_stands_word_for_word_in_its_document() -> None:
    missing = [
        (label.id, label.answer)
        for edition, label in ALL
        if label.style == "factoid"
        and str(label.answer).lower() not in " ".join(EDITIONS[edition][label.document_id].split()).lower()
    ]
    assert missing == []


def test_yes_no_answers_are_yes_or_no_and_both_occur() -> None:
    answers = Counter(label.answer for _, label in ALL if label.style == "yes_no")
    assert answers.keys() == {"Yes", "No"}
    assert min(answers.values()) * 3 >= max(answers.values())


def test_most_questions_are_worded_unlike_their_document() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        found = normalise(text).split()
        return {tuple(found[i : i + 6]) for i in range(len(found) - 5)}

    held = {(edition, name): runs(text) for edition, products in EDITIONS.items() for name, text in products.items()}
    copied = [label.id for edition, label in ALL if runs(label.question) & held[edition, label.document_id]]
    assert len(copied) <= len(ALL) / 3, copied


def test_no_question_gives_its_answer_away() -> None:
    told = [
        label.id
        for _, label in ALL
        if label.style == "factoid" and f" {normalise(str(label.answer))} " in f" {normalise(label.question)} "
    ]
    assert told == []


# --- the traffic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edition", [1, 2])
def test_a_window_has_at_least_120_customers_each_a_session_of_its_own(edition: int) -> None:
    rows = traffic(edition)
    assert len(rows) >= 120
    assert len({row["session"] for row in rows}) == len(rows)
    assert len({normalise(row["question"]) for row in rows}) == len(rows)
    assert all(row["question"].strip() for row in rows)


def test_no_labelled_question_is_in_the_traffic() -> None:
    asked = {normalise(row["question"]) for edition in (1, 2) for row in traffic(edition)}
    assert asked.isdisjoint(normalise(label.question) for _, label in ALL)


def test_a_third_of_the_second_window_is_about_new_products() -> None:
    slugs = [name.removesuffix(".md") for name in NEW]

    def about_new(edition: int) -> int:
        return sum(re.sub(r"^t\d-|-\d+$", "", row["session"]) in slugs for row in traffic(edition))

    assert about_new(1) == 0
    assert 0.25 <= about_new(2) / len(traffic(2)) <= 0.45


def test_the_second_example_is_the_first_a_season_later() -> None:
    first, second = (load_config(EXAMPLES / name) for name in ("catalogue.toml", "catalogue-2.toml"))

    def told(config: LoopConfig) -> object:
        return config.model_dump(exclude={"corpus": {"sources", "questions"}, "drift": {"current"}})

    assert told(first) == told(second)
    assert second.corpus.questions[: len(first.corpus.questions)] == first.corpus.questions
