"""Cutting documents: nothing is lost, nothing is too long, sentences stay whole, and an edit changes few chunks."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from csift.corpus.chunking import RUN, chunk, sentences
from csift.corpus.document import Document
from csift.exceptions import CorpusError
from csift.schemas import Chunk, Chunking

SMALL = Chunking(size=200, overlap=40)


def tokens(text: str) -> int:
    """A tokenizer whose counts do not add up: three characters a token, across words, and one more for each accent."""
    return -(-len(text) // 3) + sum(character > "\x7f" for character in text)


def cut(text: str, chunking: Chunking = SMALL) -> list[Chunk]:
    return chunk(Document("d.md", text), chunking, tokens)


def length(text: str, chunking: Chunking) -> int:
    return tokens(text) if chunking.unit == "tokens" else len(text)


# With accents, numbers and the marks that end sentences.
word = st.text(st.sampled_from("abcdéñ#01239-,.!?:;"), min_size=1, max_size=12)
sentence = st.lists(word, min_size=1, max_size=30).map(" ".join)
paragraph = st.lists(sentence, min_size=1, max_size=4).map("\n".join)
heading = st.tuples(st.integers(1, 6), st.lists(word, min_size=1, max_size=12)).map(lambda h: f"{'#' * h[0]} {' '.join(h[1])}")
texts = st.lists(paragraph | heading, min_size=1, max_size=12).map("\n\n".join)
units = st.sampled_from(["characters", "tokens"])
sizes = st.integers(40, 600).flatmap(
    lambda size: st.builds(Chunking, unit=units, size=st.just(size), overlap=st.integers(0, size // 2))
)


@settings(deadline=None, max_examples=300)
@given(texts, sizes)
def test_every_word_is_in_some_chunk_and_no_chunk_is_too_long(text: str, chunking: Chunking) -> None:
    pieces = cut(text, chunking)
    held = {part.rstrip(":") for piece in pieces for part in piece.text.split()}
    marks = {"#" * n for n in range(1, 7)}
    assert {part.rstrip(":") for part in text.split()} - marks <= held
    assert all(length(piece.text, chunking) <= chunking.size for piece in pieces)


@pytest.mark.parametrize("overlap", [0, 30, 80, 110])
def test_no_sentence_is_lost_where_overlaps_repeat_whole_chunks(overlap: int) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        parts = [f"No {i}{' x' * draw.choice([0, 1, 2, 50])}." for i in range(400)]
        texts = [piece.text for piece in cut("\n\n".join(parts), Chunking(size=120, overlap=overlap))]
        assert all(any(part in text for text in texts) for part in parts)


@settings(deadline=None, max_examples=60)
@given(texts, sizes)
def test_the_same_document_gives_the_same_chunks_with_ids_of_their_own(text: str, chunking: Chunking) -> None:
    pieces = cut(text, chunking)
    assert pieces == cut(text, chunking)
    assert len({piece.id for piece in pieces}) == len(pieces)
    assert [piece.ordinal for piece in pieces] == list(range(len(pieces)))
    assert {piece.id for piece in pieces}.isdisjoint(piece.id for piece in chunk(Document("other.md", text), chunking, tokens))


def test_chunk_ids_are_the_same_on_every_machine() -> None:
    assert cut("# Orrin\n\nIt weighs 1.9 kg.") == [
        Chunk(id="chunk-5adc05755a2e32bc", document_id="d.md", ordinal=0, text="Orrin: It weighs 1.9 kg.")
    ]


def test_a_repeated_passage_has_ids_of_its_own() -> None:
    pieces = cut("\n\n".join(["# Note\n\nMind the step."] * 3))
    assert [piece.text for piece in pieces] == ["Note: Mind the step."] * 3
    assert len({piece.id for piece in pieces}) == 3


# --- edits ----------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(paragraph, min_size=2, max_size=5), paragraph, st.data(), sizes)
def test_an_edit_leaves_the_chunks_of_other_sections_alone(
    bodies: list[str], edited: str, data: st.DataObject, chunking: Chunking
) -> None:
    place = data.draw(st.integers(0, len(bodies) - 1))
    assume(not any(line.startswith("#") for text in [*bodies, edited] for line in text.split("\n")))

    def sections(bodies: Sequence[str]) -> list[Chunk]:
        return cut("\n\n".join(f"# Part {i}\n\n{text}" for i, text in enumerate(bodies)), chunking)

    before, after = sections(bodies), {piece.id for piece in sections([*bodies[:place], edited, *bodies[place + 1 :]])}
    elsewhere = {piece.id for piece in before if not piece.text.startswith(f"Part {place}: ")}
    assert elsewhere <= after


def story(seed: int, of_like_length: bool) -> list[str]:
    """700 sentences, some at the end of a paragraph; where all are as long, plain filling would never come back into step."""
    draw = random.Random(seed)
    ends = [draw.choice(["", "", "", "\n\n"]) if not of_like_length else "" for _ in range(700)]
    words = [0 if of_like_length else draw.randint(0, 9) for _ in range(700)]  # at most 70 characters: never cut inside
    return [f"Item {i:03d}{' holds' * words[i]} {draw.randint(1000, 9999)}.{ends[i]}" for i in range(700)]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(0, 699),
    st.sampled_from([[], ["It reads another way."], ["It reads another way.", "And it goes on and on."]]),
    st.integers(0, 1),
    st.sampled_from([Chunking(size=80, overlap=0), Chunking(size=80, overlap=30), Chunking(unit="tokens", size=30, overlap=8)]),
)
def test_an_edited_sentence_changes_only_chunks_near_it(
    seed: int, of_like_length: bool, place: int, new: list[str], removed: int, chunking: Chunking
) -> None:
    before = story(seed, of_like_length)
    after = [*before[:place], *new, *before[place + removed :]]
    kept = {piece.id for piece in cut(" ".join(after), chunking)}
    flat = " ".join(" ".join(before).split())
    edit = flat.index(f"Item {place:03d}")
    reach = 3 * RUN * chunking.size * (3 if chunking.unit == "tokens" else 1)
    for piece in cut(" ".join(before), chunking):
        start = flat.index(piece.text)
        if start > edit + reach or start + len(piece.text) < edit - reach:
            assert piece.id in kept


def test_an_edit_as_a_rule_changes_two_chunks() -> None:
    chunking = Chunking(size=450, overlap=60)
    changed = []
    for seed in range(40):
        text = story(seed, of_like_length=False)
        edited = [*text[:350], "It reads another way.", *text[350:]]
        ids = {piece.id for piece in cut(" ".join(text), chunking)}
        changed.append(sum(piece.id not in ids for piece in cut(" ".join(edited), chunking)))
    assert sorted(changed)[20] <= 2
    assert max(changed) <= RUN


def test_chunks_are_well_filled() -> None:
    pieces = [piece for seed in range(5) for piece in cut(" ".join(story(seed, False)), Chunking(size=900, overlap=100))]
    assert sum(len(piece.text) for piece in pieces) / len(pieces) > 0.85 * 900


def test_lines_that_all_read_the_same_still_fill_their_chunks() -> None:
    pieces = cut("To be filled in. " * 500)
    assert sum(len(piece.text) for piece in pieces) / len(pieces) > 0.9 * 200


# --- overlap, titles, units -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=200), st.integers(120, 300))
def test_neighbours_share_whole_sentences_up_to_the_overlap(lengths: list[int], size: int) -> None:
    parts = [f"Sentence {i}{' long' * n} ends." for i, n in enumerate(lengths)]
    pieces = cut(" ".join(parts), Chunking(size=size, overlap=size // 2))
    for before, after in pairwise(pieces):
        shared = [part for part in parts if part in before.text and part in after.text]
        assert shared, (before.text, after.text)
        assert before.text.endswith(" ".join(shared))
        assert after.text.startswith(" ".join(shared))
        assert len(" ".join(shared)) <= size // 2


def test_without_overlap_nothing_is_said_twice() -> None:
    parts = [f"Sentence {i} ends." for i in range(400)]
    pieces = cut(" ".join(parts), Chunking(size=100, overlap=0))
    assert len(pieces) > 50
    assert " ".join(piece.text for piece in pieces) == " ".join(parts)


def test_passages_open_with_the_titles_above_them() -> None:
    text = "# Orrin\n\nA station.\n\n## Safety\n\nHot tip.\n\n### Fuse\n\nT1.6 A.\n\n## Uses of C#\n\nNone.\n\n## Later ##"
    assert [piece.text for piece in cut(text)] == [
        "Orrin: A station.",
        "Orrin > Safety: Hot tip.",
        "Orrin > Safety > Fuse: T1.6 A.",
        "Orrin > Uses of C#: None.",
        "Orrin: Later",
    ]


def test_a_title_longer_than_half_a_passage_is_text() -> None:
    pieces = cut(f"# {'Long ' * 30}\n\n{'Body text ends. ' * 20}")
    assert [piece.text.count("Long") for piece in pieces] == [30, *[0] * (len(pieces) - 1)]


def test_a_word_longer_than_a_passage_is_cut() -> None:
    pieces = cut("x" * 450)
    assert "".join(piece.text for piece in pieces) == "x" * 450
    assert max(len(piece.text) for piece in pieces) <= 200


def test_a_long_sentence_is_cut_at_spaces() -> None:
    text = " ".join(f"word{i}" for i in range(300))
    assert " ".join(piece.text for piece in cut(text, Chunking(size=200, overlap=0))) == text


def test_tokens_fill_chunks_as_characters_do() -> None:
    text = " ".join(story(0, of_like_length=False))
    counts = [tokens(piece.text) for piece in cut(text, Chunking(unit="tokens", size=100, overlap=10))]
    assert max(counts) <= 100
    assert sum(counts) / len(counts) > 75


def test_tokens_need_a_tokenizer() -> None:
    with pytest.raises(CorpusError, match="no tokenizer"):
        chunk(Document("d.md", "Text."), Chunking(unit="tokens", size=100, overlap=0))


def test_a_file_can_stay_whole() -> None:
    text = "# Title\n\n" + "Body. " * 200
    assert [piece.text for piece in cut(text, Chunking(unit="file", size=20, overlap=0))] == [text]


# --- sentences ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expected",
    [
        ["Tarnbeck Inc. Of Leeds sells pumps.", "They last."],
        ["It is No. 5 in Sec. 5 of the list, e.g. In rows.", "Then more."],
        ["Under Art. IV and Fig. 2 it holds 1.5 kg.", "It is 2.5 m long!", "Is it?"],
        ["J. Smith and A. B. Carr signed.", "They left."],
        ["2.1 Term.", "The term ends.", "2.2. Renewal.", "None."],
        ["1. Fees.", "(a) In cash;", "(b) by cheque.", "A. Monthly."],
        ['He said "stop."', "They stopped."],
        ["The U.S. Navy agreed.", "So did St. Ives."],
        ["It ended in 2018.", "The rest is silence."],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(expected: list[str]) -> None:
    assert list(sentences(" ".join(expected))) == expected


def test_items_of_a_list_and_rows_of_a_table_stand_for_themselves() -> None:
    assert list(sentences("Parts\n- a pump\n  of steel\n- a seal\n1) oil\n| 1 | 2 |")) == [
        "Parts",
        "- a pump of steel",
        "- a seal",
        "1) oil",
        "| 1 | 2 |",
    ]
