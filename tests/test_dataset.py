"""Building a training set: duplicates, leaks, the chunks beside a question, weights, replay, the fingerprint."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from dataset_samples import store_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift.config import DatasetConfig
from csift.dataset import (
    Ingredients,
    build,
    clean,
    clean_pairs,
    find,
    from_labels,
    load_examples,
    load_preferences,
    load_rejections,
    load_texts,
    mix,
    save,
    with_contexts,
)
from csift.dataset.topics import topics
from csift.db import Database
from csift.exceptions import CorpusError, GateError, LabelError, StorageError
from csift.firewall import Firewall, Protected, Scorer
from csift.hashing import content_id
from csift.schemas import (
    Chunk,
    CorpusSnapshot,
    DatasetVersion,
    Example,
    Hit,
    HumanFeedback,
    Label,
    LabelSet,
    PreferencePair,
    Rejection,
    SynthesisReport,
)
from csift.textmatch import REFUSAL, normalise

CONFIG = DatasetConfig(refusals=0, replay=0)
NOTHING = SynthesisReport(teacher="", candidates=0, accepted=0, rejected={}, samples=())
SCORER = Scorer("words", (40.0, 0.0, 0.0, 0.0, 0.0), -36.0, 0.5)  # the same from a cosine of 0.9
NUMBERS = itertools.count()


def example(question: str, answer: str = "29 kg", source: str = "synthetic", document: str = "a.md", **given: Any) -> Example:
    """An example without contexts."""
    return Example.model_validate(
        {
            "id": content_id("example", [question, answer, document]),
            "question": question,
            "answer": answer,
            "document_id": document,
            "style": "unanswerable" if answer == REFUSAL else "factoid",
            "gold_chunk_ids": (),
            "context_chunk_ids": (),
            "source": source,
            "generator": None,
            "prompt_hash": None,
            **given,
        }
    )


def firewall(words: Any, *protected: tuple[str, str]) -> Firewall:
    """These questions with their answers, guarded by a scorer of word overlap alone."""
    return Firewall([Protected(*entry) for entry in protected], words, SCORER)


def label(id_: str, question: str, answer: str | None, document: str, split: str) -> Label:
    return Label.model_validate(
        {
            "id": id_, "question": question, "answer": answer, "document_id": document, "split": split, "document_sha256": "1",
            "style": "unanswerable" if answer is None else "factoid",
        }
    )  # fmt: skip


# --- duplicates and leaks -------------------------------------------------------------------------------------------------


def test_an_unanswerable_question_is_taught_its_refusal() -> None:
    (made,) = from_labels([label("q", "Where is it made?", None, "a.md", "train")])
    assert (made.answer, made.source, made.question, made.document_id) == (REFUSAL, "human", "Where is it made?", "a.md")
    assert made.style == "unanswerable"


def test_the_first_of_equal_questions_is_kept(words: Any) -> None:
    examples = [example("How heavy is the Orrin?"), example("how heavy is   Orrin", "30 kg"), example("What is it?")]
    kept, rejected = clean(examples, firewall(words), words, CONFIG)
    assert kept == [examples[0], examples[2]]
    assert [(entry.reason, entry.question, entry.answer, entry.detail) for entry in rejected] == [
        ("duplicate", "how heavy is   Orrin", "30 kg", "How heavy is the Orrin?")
    ]


def test_the_same_question_about_another_document_is_no_duplicate(words: Any) -> None:
    examples = [example("Which law governs it?", "Ohio"), example("Which law governs it?", "Texas", document="b.md")]
    assert clean(examples, firewall(words), words, CONFIG)[0] == examples


def test_a_human_question_wins_over_its_synthetic_copies(words: Any) -> None:
    human = example("What does the big red kettle of the upper workshop floor weigh when full?", source="human")
    near = example("What does the big red kettle of the upper workshop floor weigh if full?")
    kept, rejected = clean([human, example(human.question.upper()), near], firewall(words), words, CONFIG)
    assert kept == [human]
    assert [(entry.reason, entry.detail) for entry in rejected] == [
        ("duplicate", human.question),
        ("near duplicate", human.question),
    ]


def test_two_human_questions_may_resemble_each_other(words: Any) -> None:
    one = example("What does the big red kettle of the upper workshop floor weigh when full?", source="human")
    other = example("What does the big red kettle of the upper workshop floor weigh when it is full?", source="human")
    assert clean([one, other], firewall(words), words, CONFIG)[0] == [one, other]


@pytest.mark.parametrize("source", ["human", "synthetic"])
def test_a_leak_says_how_it_was_found_and_not_what_the_answer_is(source: str, words: Any) -> None:
    examples = [example("how heavy is the orrin", source=source), example("How many litres does it hold?", source=source)]
    kept, rejected = clean(examples, firewall(words, ("How heavy is the Orrin?", "29 kg")), words, CONFIG)
    assert kept == examples[1:]
    (leak,) = rejected
    assert re.match(r"leak: \w+", leak.reason)
    assert "29" not in leak.model_dump_json()


def test_a_question_asked_of_every_document_is_no_leak_with_another_answer(words: Any) -> None:
    law = "Which law governs the contract?"
    examples = [example(law, answer, "human", f"{answer}.md") for answer in ("Delaware", "Ohio", "Texas")]

    kept, rejected = clean(examples, firewall(words, (law, "State of Ohio")), words, CONFIG)

    assert [entry.answer for entry in kept] == ["Delaware", "Texas"]
    assert [(entry.document_id, entry.reason.split(":")[0]) for entry in rejected] == [("Ohio.md", "leak")]


def test_a_preference_pair_may_not_leak_either(words: Any) -> None:
    good, bad = pair("How many litres does it hold?", "9 l"), pair("How heavy is the Orrin?", "29 kg")
    kept, rejected = clean_pairs([good, bad], firewall(words, ("How heavy is the Orrin?", "29 kg")))
    assert kept == [good]
    assert [(entry.question, entry.answer) for entry in rejected] == [(bad.question, "")]


phrases = st.lists(
    st.sampled_from(["how", "heavy", "red", "lamp", "is", "the", "Orrin", "in", "a", "box", "of", "tin"]), min_size=1, max_size=10
).map(" ".join)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(phrases, st.sampled_from(["human", "synthetic"])), max_size=12), st.lists(phrases, max_size=4))
def test_nothing_kept_is_a_protected_question_or_twice_there(
    words: Any, rows: list[tuple[str, str]], protected: list[str]
) -> None:
    examples = sorted((example(question, source=source) for question, source in rows), key=lambda entry: entry.source)
    kept, rejected = clean(examples, firewall(words, *((question, "29 kg") for question in protected)), words, CONFIG)
    questions = [normalise(entry.question) for entry in kept]
    assert set(questions).isdisjoint(normalise(question) for question in protected)
    assert len(set(questions)) == len(questions)
    assert len(kept) + len(rejected) == len(examples)
    assert all(entry.reason for entry in rejected)


# --- contexts -------------------------------------------------------------------------------------------------------------


class Fixed:
    """A retriever that ranks the chunks with these texts first for every question; counts how often it is asked."""

    id = "fixed"

    def __init__(self, chunks: Sequence[Chunk], *texts: str) -> None:
        found = {piece.text: piece for piece in chunks}
        self.chunks = [found[text] for text in texts]
        self.asked = 0

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The first k of them."""
        self.asked += 1
        hits = [Hit(chunk_id=c.id, document_id=c.document_id, text=c.text, score=1.0) for c in self.chunks[:k]]
        return [hits for _ in questions]


def pieces(**documents: Sequence[str]) -> list[Chunk]:
    """One chunk a text."""
    return [
        Chunk(id=content_id("chunk", [name, text]), document_id=f"{name}.md", ordinal=ordinal, text=text)
        for name, texts in documents.items()
        for ordinal, text in enumerate(texts)
    ]


CHUNKS = pieces(
    a=["It is red.", "Mind the lid.", "It weighs 29 kg.", "Do not drop it.", "So 29 kg it is."],
    b=["The other one weighs 29 kg.", "It is blue.", "It has a lid.", "It has a lamp."],
)
ALL = [piece.text for piece in CHUNKS]
TEXTS = {piece.id: piece.text for piece in CHUNKS}
BY_TEXT = {piece.text: piece for piece in CHUNKS}
REFUSE = DatasetConfig(refusals=0.999999)


def row_of(given: Example, *retrieved: str, k: int = 2, config: DatasetConfig = CONFIG) -> tuple[Example, list[str], list[str]]:
    """The row, its chunks' texts and its gold chunks' texts."""
    (row,) = with_contexts([given], Fixed(CHUNKS, *retrieved), CHUNKS, k, config)
    return row, [TEXTS[id_] for id_ in row.context_chunk_ids], [TEXTS[id_] for id_ in row.gold_chunk_ids]


def gold(*texts: str, answer: str = "29 kg", style: str = "factoid") -> Example:
    return example("How heavy?", answer, gold_chunk_ids=tuple(BY_TEXT[text].id for text in texts), style=style)


def test_the_gold_chunk_stays_where_it_was_retrieved() -> None:
    _, shown, golden = row_of(example("How heavy?"), "It weighs 29 kg.", "It is blue.")
    assert shown == ["It weighs 29 kg.", "It is blue."]
    assert golden == ["It weighs 29 kg."]


def test_a_gold_chunk_that_was_not_retrieved_takes_the_place_of_the_last() -> None:
    assert row_of(example("How heavy?"), "It is blue.", "It is red.")[1:] == (
        ["It is blue.", "It weighs 29 kg."], ["It weighs 29 kg."],
    )  # fmt: skip
    assert row_of(example("How heavy?"), "It is blue.", k=1)[1] == ["It weighs 29 kg."]
    # Of two that hold the answer the better ranked one, and never one of another document.
    ranked = ("It is blue.", "The other one weighs 29 kg.", "So 29 kg it is.", "It weighs 29 kg.")
    assert row_of(example("How heavy?"), *ranked)[1] == ["It is blue.", "So 29 kg it is."]


def test_the_chunk_a_question_was_written_from_is_gold_whatever_else_holds_the_answer() -> None:
    _, shown, golden = row_of(gold("So 29 kg it is."), "It weighs 29 kg.", "It is red.")
    assert shown == ["It weighs 29 kg.", "So 29 kg it is."]
    assert golden == ["So 29 kg it is."]


def test_both_gold_chunks_of_a_question_are_there_or_none() -> None:
    both = gold("It is red.", "It weighs 29 kg.", answer="red, 29 kg", style="multi_chunk")
    assert row_of(both, "It is blue.", "It has a lid.", "It has a lamp.", k=3)[1] == [
        "It is blue.", "It is red.", "It weighs 29 kg.",
    ]  # fmt: skip
    assert row_of(both, "It weighs 29 kg.", "It is blue.", "It has a lid.", k=3)[1] == [
        "It weighs 29 kg.", "It is blue.", "It is red.",
    ]  # fmt: skip
    refused, shown, golden = row_of(both, *ALL, k=1)
    assert (refused.answer, refused.style, golden) == (REFUSAL, "unanswerable", [])
    assert not {"It is red.", "It weighs 29 kg."} & set(shown)


def test_a_refused_row_shows_full_distractors_from_which_the_answer_cannot_be_read() -> None:
    row, shown, golden = row_of(example("How heavy?"), *ALL, config=REFUSE)
    assert (row.answer, row.style, golden) == (REFUSAL, "unanswerable", [])
    assert shown == ["It is red.", "It is blue."]  # not what overlaps a gold chunk, nor another document's 29 kg
    yes, shown, _ = row_of(gold("It weighs 29 kg.", answer="Yes", style="yes_no"), *ALL, config=REFUSE)
    assert yes.answer == REFUSAL
    assert not any(text in shown for text in ("Mind the lid.", "It weighs 29 kg.", "Do not drop it."))


def test_an_answer_that_stands_nowhere_is_neither_refused_nor_given_a_gold_chunk() -> None:
    for answer in (REFUSAL, "blue", "Yes"):
        row, shown, golden = row_of(example("How heavy?", answer), "It is red.", "It has a lamp.", config=REFUSE)
        assert (row.answer, shown, golden) == (answer, ["It is red.", "It has a lamp."], [])


def test_about_the_configured_share_is_refused_and_one_row_more_changes_no_other() -> None:
    rows = [example(f"How heavy is number {n}?") for n in range(400)]
    config = DatasetConfig(refusals=0.25)
    made = with_contexts(rows, Fixed(CHUNKS, *ALL), CHUNKS, 3, config)
    assert 70 < sum(row.answer == REFUSAL for row in made) < 130
    assert with_contexts(rows[1:], Fixed(CHUNKS, *ALL), CHUNKS, 3, config) == made[1:]
    other_seed = with_contexts(rows, Fixed(CHUNKS, *ALL), CHUNKS, 3, config.model_copy(update={"seed": 1}))
    assert [row.answer for row in other_seed] != [row.answer for row in made]


def test_chunks_that_may_not_be_trained_on_are_left_out_and_others_take_their_place() -> None:
    usable = [piece for piece in CHUNKS if piece.document_id == "a.md"]
    (row,) = with_contexts([example("How heavy?")], Fixed(CHUNKS, *reversed(ALL)), usable, 3, CONFIG)
    assert {TEXTS[id_] for id_ in row.context_chunk_ids} <= set(ALL[:5])
    assert len(row.context_chunk_ids) == 3


def test_the_retriever_is_asked_once_for_all_questions() -> None:
    retriever = Fixed(CHUNKS, *ALL)
    with_contexts([example(f"How heavy is {n}?") for n in range(9)], retriever, CHUNKS, 2, CONFIG)
    assert retriever.asked == 1


def test_a_row_on_a_chunk_that_may_not_be_trained_on_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no chunk to train on; synthesise again"):
        with_contexts([gold("It weighs 29 kg.")], Fixed(CHUNKS), CHUNKS[:1], 2, CONFIG)


@settings(deadline=None, max_examples=60)
@given(
    st.permutations(ALL), st.integers(0, 9), st.integers(1, 5), st.sampled_from(["29 kg", "Yes", "red", REFUSAL]),
    st.lists(st.sampled_from(ALL[:5]), max_size=2, unique=True), st.sampled_from([0.0, 0.5, 0.999999]),
)  # fmt: skip
def test_every_row_has_its_gold_or_the_refusal(
    ranked: list[str], found: int, k: int, answer: str, written_from: list[str], refusals: float
) -> None:
    asked = gold(*([] if answer == REFUSAL else written_from), answer=answer)
    rows = with_contexts([asked], Fixed(CHUNKS, *ranked[:found]), CHUNKS, k, DatasetConfig(refusals=refusals))
    if not rows:
        assert k < len(written_from)  # two gold chunks, room for one, and no distractor
        return
    (row,) = rows
    assert 1 <= len(row.context_chunk_ids) <= k
    assert len(set(row.context_chunk_ids)) == len(row.context_chunk_ids)
    assert set(row.gold_chunk_ids) <= set(row.context_chunk_ids)
    if row.answer == REFUSAL:
        assert set(asked.gold_chunk_ids).isdisjoint(row.context_chunk_ids)
        assert row.style == ("factoid" if answer == REFUSAL else "unanswerable")
    else:
        assert set(asked.gold_chunk_ids) <= set(row.gold_chunk_ids)


# --- weights --------------------------------------------------------------------------------------------------------------


def test_weights_repeat_and_thin_the_rows_of_their_source() -> None:
    rows = [example(f"Question {n}?", source=source) for source in ("human", "synthetic", "feedback") for n in range(200)]
    mixed = mix(rows, {"human": 2, "synthetic": 0.5, "feedback": 1.5}, seed=0)
    counts = Counter(row.source for row in mixed)
    assert counts["human"] == 400
    assert 70 < counts["synthetic"] < 130
    assert 270 < counts["feedback"] < 330
    assert mix(rows, {"human": 1, "synthetic": 0, "feedback": 0}, seed=0) == rows[:200]


@given(st.lists(phrases, unique=True, min_size=1, max_size=20), st.floats(0, 10), st.integers(0, 3))
def test_one_row_less_changes_nothing_about_the_others(questions: list[str], weight: float, seed: int) -> None:
    rows = [example(question) for question in questions]
    weights = {"synthetic": weight}
    less = Counter(row.id for row in mix(rows[1:], weights, seed))
    whole = Counter(row.id for row in mix(rows, weights, seed))
    assert {id_: number for id_, number in whole.items() if id_ != rows[0].id} == less
    assert all(int(weight) <= whole[row.id] <= int(weight) + 1 for row in rows)


# --- the version ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(db: Database, project: str) -> CorpusSnapshot:
    """A stored snapshot."""
    return store_corpus(db, project, a=["It weighs 29 kg.", "It is red."])[0]


REFUSED = [
    Rejection(reason="leak: copy", question="Is it red?", answer="", document_id="a.md", detail=""),
    Rejection(reason="round trip", question="What is it?", answer="a lamp", document_id="a.md", detail="asked again: a lid"),
    Rejection(reason="leak: copy", question="Is it blue?", answer="", document_id="a.md", detail=""),
]


def version(db: Database, snapshot: CorpusSnapshot, examples: Sequence[Example], **other: Any) -> DatasetVersion:
    """Saves the examples."""
    told = {"evalset_id": "evalset-1", "recipe": {"k": 3}, "synthesis": NOTHING, "rejected": REFUSED}
    return save(db, examples, **{"snapshot_id": snapshot.id, **told, **other})


def pair(question: str, chosen: str = "29 kg") -> PreferencePair:
    return PreferencePair(
        id=content_id("preference", [question, chosen]), question=question, document_id="a.md", context_chunk_ids=(),
        chosen=chosen, rejected="3 kg", source="ai", judged_by="judge", margin=0.5,
    )  # fmt: skip


ROWS = [example("How heavy?", source="human"), example("Which colour?", "red")]


def test_a_version_is_stored_with_its_rows_pairs_and_rejections(db: Database, snapshot: CorpusSnapshot) -> None:
    pairs = [pair("How heavy?"), pair("Which colour?", "red")]
    saved = version(
        db, snapshot, [*ROWS, ROWS[0]], preferences=pairs, replayed=1, documents={"train": 1}
    )  # fmt: skip
    assert find(db, snapshot.corpus, saved.id).version == saved
    assert saved.sources == {"human": 2, "synthetic": 1, "feedback": 0}
    assert (saved.replayed, saved.documents) == (1, {"train": 1})
    assert saved.decontaminated == {"leak: copy": 2}
    assert Counter(row.question for row in load_examples(db, saved)) == {"How heavy?": 2, "Which colour?": 1}
    assert {row.id for row in load_examples(db, saved)} == set(saved.example_ids)
    assert sorted(load_preferences(db, saved), key=lambda p: p.question) == pairs
    assert [entry.reason for entry in load_rejections(db, saved.id)] == ["leak: copy", "leak: copy", "round trip"]
    assert load_rejections(db, saved.id, "round trip") == [REFUSED[1]]
    assert len(load_rejections(db, saved.id, limit=2)) == 2


def test_the_order_of_the_inputs_makes_no_difference_and_any_change_another_version(
    db: Database, snapshot: CorpusSnapshot
) -> None:
    first = version(db, snapshot, ROWS)
    assert version(db, snapshot, ROWS[::-1], rejected=REFUSED[::-1]) == first
    assert load_rejections(db, first.id) == sorted(REFUSED, key=lambda entry: (entry.reason, entry.question))
    others = [
        version(db, snapshot, ROWS, recipe={"k": 2}),
        version(db, snapshot, ROWS, evalset_id="evalset-2"),
        version(db, snapshot, ROWS[:1]),
        version(db, snapshot, [*ROWS, ROWS[0]]),
        version(db, snapshot, ROWS, preferences=[pair("How heavy?")]),
        version(db, snapshot, [ROWS[0], ROWS[1].model_copy(update={"id": "example-relabelled"})]),
    ]
    assert len({first.id, *(other.id for other in others)}) == 7


def test_a_version_keeps_what_it_was_first_stored_with(db: Database, snapshot: CorpusSnapshot) -> None:
    first = version(db, snapshot, ROWS)
    again = version(db, snapshot, ROWS, rejected=REFUSED[:1], synthesis=NOTHING.model_copy(update={"candidates": 5}))
    assert again == first
    assert len(load_rejections(db, first.id)) == 3


def test_nothing_left_to_train_on_is_refused(db: Database, snapshot: CorpusSnapshot) -> None:
    with pytest.raises(LabelError, match="no examples are left to train on; label questions"):
        version(db, snapshot, [])


def test_versions_are_found_by_prefix_and_the_nearest_are_named(db: Database, snapshot: CorpusSnapshot, project: str) -> None:
    with pytest.raises(GateError, match="has no dataset yet"):
        find(db, project, "latest")
    made = [version(db, snapshot, ROWS), version(db, snapshot, ROWS[:1])]
    assert find(db, project, "latest").version == made[1]
    for entry in made:
        assert find(db, project, entry.id[:-3]).version == entry
        assert find(db, project, entry.id.removeprefix("dataset-")[:8]).version == entry
    wrong = made[0].id[:-1] + ("0" if made[0].id[-1] != "0" else "1")
    with pytest.raises(GateError, match=f"no dataset {wrong}; the nearest: {made[0].id}"):
        find(db, project, wrong)
    with pytest.raises(GateError, match=r"2 datasets of .* begin with dataset-: .*; write more of the id"):
        find(db, project, "dataset-")


def test_chunk_texts_are_found_and_a_missing_one_is_an_error(db: Database, snapshot: CorpusSnapshot, project: str) -> None:
    known = content_id("chunk", ["a.md", "It is red."])
    assert load_texts(db, {known}) == {known: "It is red."}
    with pytest.raises(StorageError, match="text of chunk-0 is not stored"):
        load_texts(db, {known, "chunk-0"})


# --- all of it ------------------------------------------------------------------------------------------------------------

DOCUMENTS = {
    "a": ["The Orrin weighs 29 kg.", "It is red.", "It has a lid.", "Its lamp is green."],
    "b": ["The Caddis weighs 8 kg.", "It is blue.", "It has a rope."],
    "c": ["The Petrel weighs 5 kg.", "It is grey."],
    "bought": ["The standard asks for 29 kg at most.", "It was written in Tarnbeck."],
}
SPLITS: Any = {"a.md": "train", "b.md": "train", "c.md": "eval", "bought.md": "train"}
LABELS = (
    label("1", "How heavy is the Orrin?", "29 kg", "a.md", "train"),
    label("2", "Is the Caddis red?", None, "b.md", "train"),
    label("3", "How heavy is the Petrel?", "5 kg", "c.md", "eval"),
)


class ByWords:
    """Ranks the chunks by the words they share with the question."""

    id = "by-words"

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best; ties by text."""

        def ranked(question: str) -> list[Chunk]:
            asked = set(normalise(question).split())
            return sorted(self.chunks, key=lambda c: (-len(asked & set(normalise(c.text).split())), c.text))[:k]

        return [
            [Hit(chunk_id=c.id, document_id=c.document_id, text=c.text, score=0.5) for c in ranked(question)]
            for question in questions
        ]


class Team:
    """A project that builds datasets of what it is given."""

    def __init__(self, db: Database, project: str, words: Any, **documents: Sequence[str]) -> None:
        self.db, self.project, self.words = db, project, words
        self.snapshot, self.chunks = store_corpus(db, project, **(documents or DOCUMENTS))

    def build(self, synthetic: Sequence[Example], config: DatasetConfig = CONFIG, **other: Any) -> DatasetVersion:
        given = {
            "labels": LabelSet(snapshot_id=self.snapshot.id, labels=LABELS, retired=()), "feedback": HumanFeedback(),
            "preferences": (),
            "synthesis": NOTHING.model_copy(update={"candidates": len(synthetic)}), "rejections": (), **other,
        }  # fmt: skip
        return build(
            self.db, self.project, Ingredients(self.snapshot, self.chunks, SPLITS, synthetic=synthetic, **given),
            evalset_id="evalset-1", embedder=self.words, retriever=ByWords(self.chunks), k=2, config=config, recipe={"by": "me"},
            scorer=SCORER,
        )  # fmt: skip

    def gold(self, question: str, answer: str, text: str, **other: Any) -> Example:
        chunk = next(chunk for chunk in self.chunks if chunk.text == text)
        return example(question, answer, document=chunk.document_id, gold_chunk_ids=(chunk.id,), **other)

    def rows(self, made: DatasetVersion) -> set[tuple[str, str]]:
        return {(row.question, row.answer) for row in load_examples(self.db, made)}


@pytest.fixture
def team(db: Database, project: str, words: Any) -> Team:
    """The project of the test."""
    return Team(db, project, words)


def test_a_dataset_holds_human_synthetic_and_feedback_rows_and_nothing_that_leaks(team: Team) -> None:
    written = [
        team.gold("Which colour has the Orrin?", "red", "It is red."),
        team.gold("How heavy is the Petrel?", "5 kg", "It is red."),
        team.gold("How heavy is the Orrin?", "29 kilos", "The Orrin weighs 29 kg."),
    ]
    told = HumanFeedback(examples=(example("Which colour is it, the Caddis that is blue?", "blue", "feedback", ""),))
    made = team.build(written, feedback=told, rejections=REFUSED[1:2], preferences=[pair("How heavy is the Petrel?", "5 kg")])

    assert team.rows(made) == {
        ("How heavy is the Orrin?", "29 kg"),
        ("Is the Caddis red?", REFUSAL),
        ("Which colour has the Orrin?", "red"),
        ("Which colour is it, the Caddis that is blue?", "blue"),
    }
    assert made.sources == {"human": 2, "synthetic": 1, "feedback": 1}
    assert made.documents == {"eval": 1, "train": 3}
    assert made.preference_ids == ()
    assert made.synthesis.accepted == 1
    assert made.synthesis.rejected["duplicate"] == 1
    reasons = Counter(entry.reason.split(":")[0] for entry in load_rejections(team.db, made.id))
    assert reasons == {"leak": 2, "duplicate": 1, "round trip": 1}
    assert made.recipe["by"] == "me"
    assert made.recipe["human_weight"] == 1.0


def test_nothing_of_a_document_that_is_judged_on_or_only_retrieved_from_is_in_a_dataset(team: Team) -> None:
    barred = [
        example("Where was the standard written?", "Tarnbeck", document="bought.md"),
        example("Is it grey?", document="c.md"),
    ]
    made = team.build([*barred, team.gold("Which colour has the Orrin?", "red", "It is red.")])
    rows = load_examples(team.db, made)
    documents = {chunk.id: chunk.document_id for chunk in team.chunks}
    assert {row.document_id for row in rows} == {"a.md", "b.md"}
    assert {documents[id_] for row in rows for id_ in row.context_chunk_ids} == {"a.md", "b.md"}
    assert [entry.reason for entry in load_rejections(team.db, made.id)] == ["may not be trained on"] * 2


def test_each_question_is_embedded_once_however_often_it_is_compared(team: Team) -> None:
    team.build([team.gold(f"Which colour has number {n}?", "red", "It is red.") for n in range(9)], DatasetConfig())
    assert max(Counter(team.words.embedded).values()) == 1


def test_a_refused_row_is_no_copy_of_an_eval_question_without_an_answer(team: Team) -> None:
    lost = label("4", "Which colour has the Orrin?", None, "c.md", "eval")
    labels = LabelSet(snapshot_id=team.snapshot.id, labels=(*LABELS, lost), retired=())
    asked = [team.gold("Which colour has the Orrin?", "red", "It is red.")]
    assert ("Which colour has the Orrin?", "red") in team.rows(team.build(asked, labels=labels))
    refusing = team.build(asked, REFUSE.model_copy(update={"replay": 0}), labels=labels)
    assert team.rows(refusing) == {("Is the Caddis red?", REFUSAL), ("How heavy is the Orrin?", REFUSAL)}
    assert refusing.decontaminated == {"leak: copy": 1}
    assert refusing.synthesis.accepted == 0


def test_the_same_ingredients_in_any_order_give_the_same_version(team: Team) -> None:
    written = [
        team.gold(f"Which colour has number {n}?", answer, text)
        for n, (answer, text) in enumerate([("red", "It is red."), ("blue", "It is blue."), ("green", "Its lamp is green.")])
    ]
    assert team.build(written) == team.build(written[::-1])
    assert team.build(written).id != team.build(written[1:]).id


def test_old_synthetic_rows_are_replayed_up_to_their_share_and_only_where_they_still_stand(
    db: Database, project: str, words: Any
) -> None:
    before = Team(db, project, words)
    colours = [before.gold(f"Of which colour is the lamp number {n * n}?", "green", "Its lamp is green.") for n in range(40)]
    lid = before.gold("What does the Orrin have on top?", "a lid", "It has a lid.")
    first = before.build([*colours, lid], DatasetConfig(refusals=0))
    assert first.replayed == 0

    # The lid is gone from a.md; one of the old questions has become an eval question.
    after = Team(db, project, words, **{**DOCUMENTS, "a": [text for text in DOCUMENTS["a"] if "lid" not in text]})
    lost = label("4", colours[0].question, "green", "c.md", "eval")
    labels = LabelSet(snapshot_id=after.snapshot.id, labels=(*LABELS, lost), retired=())
    fresh = [after.gold("Which colour has the Caddis?", "blue", "It is blue.")]
    replaying = DatasetConfig(refusals=0, replay=1.0)
    second = after.build(fresh, replaying, labels=labels)

    old = after.rows(second) - {(row.question, row.answer) for row in [*from_labels(LABELS[:2]), *fresh]}
    assert second.replayed == len(old) == 3  # as many as there are new rows
    assert old <= {(row.question, "green") for row in colours[1:]}
    assert after.build(fresh, replaying, labels=labels) == second
    assert after.build(fresh, CONFIG, labels=labels).replayed == 0


def test_a_row_is_not_replayed_when_a_chunk_of_it_is_gone(db: Database, project: str, words: Any) -> None:
    before = Team(db, project, words)
    before.build([before.gold("What does the Orrin have on top?", "a lid", "It has a lid.")])
    replaying = DatasetConfig(refusals=0, replay=1.0)
    assert before.build([], replaying).replayed == 1
    after = Team(db, project, words, **{**DOCUMENTS, "a": [text for text in DOCUMENTS["a"] if "lid" not in text]})
    assert after.build([], replaying).replayed == 0


def test_rows_that_are_there_again_take_no_place_from_those_that_are_replayed(team: Team) -> None:
    colours = [team.gold(f"Of which colour is the lamp number {n * n}?", "green", "Its lamp is green.") for n in range(40)]
    team.build(colours)
    assert team.build(colours[:37], DatasetConfig(refusals=0, replay=0.1)).replayed == 3


def test_human_rows_are_not_replayed_once_their_label_is_withdrawn(team: Team) -> None:
    team.build([])
    labels = LabelSet(snapshot_id=team.snapshot.id, labels=LABELS[1:], retired=())
    made = team.build([], DatasetConfig(refusals=0, replay=1.0), labels=labels)
    assert team.rows(made) == {("Is the Caddis red?", REFUSAL)}


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "bought"]), phrases), min_size=1, max_size=15))
def test_no_question_of_an_eval_document_is_ever_in_a_dataset(
    db: Database, project: str, words: Any, rows: list[tuple[str, str]]
) -> None:
    team = Team(db, f"{project}-{next(NUMBERS)}", words)
    asked = tuple(label(str(n), text, "tin", f"{d}.md", SPLITS[f"{d}.md"]) for n, (d, text) in enumerate(rows))
    always = label("x", "How large is the lid?", "huge", "b.md", "train")
    labels = LabelSet(snapshot_id=team.snapshot.id, labels=(*asked, always), retired=())
    made = load_examples(db, team.build([], labels=labels))
    protected = [entry for entry in asked if entry.split == "eval"]
    assert {row.document_id for row in made} <= {"a.md", "b.md"}
    assert {normalise(row.question) for row in made}.isdisjoint(normalise(entry.question) for entry in protected)


# --- topics ---------------------------------------------------------------------------------------------------------------


def test_topics_group_questions_and_name_each_by_its_own_words(words: Any) -> None:
    weights = [f"How heavy is the pump {n}?" for n in range(30)]
    laws = [f"Which law governs contract {n}?" for n in range(20)]
    found = topics([*weights, *laws], words.embed([*weights, *laws]))
    assert sum(topic.rows for topic in found) == 50
    assert any("law" in topic.words and "pump" not in topic.words for topic in found)
    assert topics([*weights, *laws], words.embed([*weights, *laws])) == found
    (only,) = topics(["How heavy?"], words.embed(["How heavy?"]))
    assert (only.rows, only.example) == (1, "How heavy?")
