"""Documents that resemble an earlier one are found, with their true similarity, and others are not."""

import random
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csift.corpus.near_duplicates import near_duplicates, signature

WORDS = [f"word{i}" for i in range(3000)]


def essay(seed: int, length: int = 400) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def jaccard(left: str, right: str) -> float:
    """By sets of tuples: the definition."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    return len(grams(left) & grams(right)) / len(grams(left) | grams(right))


def test_a_document_with_one_sentence_changed_names_the_earlier_one() -> None:
    words = essay(1)
    texts = {"a.md": " ".join(words), "b.md": " ".join([*words[:200], "changed", *words[201:]]), "c.md": " ".join(essay(2))}
    (found,) = near_duplicates(texts)
    assert (found.document_id, found.of) == ("b.md", "a.md")
    assert found.similarity == pytest.approx(jaccard(texts["a.md"], texts["b.md"]))


def test_case_punctuation_and_spaces_make_no_difference() -> None:
    text = "The pump, made in Tarnbeck, weighs 1.9 kg; it runs on 230 V."
    (found,) = near_duplicates({"a": text, "b": text.upper().replace(",", " - ").replace(" ", "\n")})
    assert found.similarity == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 399), max_size=30), st.sampled_from([0.3, 0.5, 0.8, 0.95]))
def test_just_the_pairs_at_or_over_the_threshold_are_found(seed: int, changed: list[int], threshold: float) -> None:
    words = essay(seed)
    edited = ["changed" if i in changed else word for i, word in enumerate(words)]
    texts = {"a": " ".join(words), "b": " ".join(edited)}
    similarity = jaccard(texts["a"], texts["b"])
    found = near_duplicates(texts, threshold)
    assert [(pair.document_id, pair.of, pair.similarity) for pair in found] == (
        [("b", "a", pytest.approx(similarity))] if similarity >= threshold else []
    )


def test_each_later_document_names_the_earlier_one_most_like_it() -> None:
    words = essay(3)
    closer = [*words[:100], "changed", *words[101:]]
    texts = {"a": words, "b": [*closer[:300], "changed", *closer[301:]], "c": closer, "d": closer}
    found = near_duplicates({id_: " ".join(text) for id_, text in texts.items()})
    assert [(pair.document_id, pair.of) for pair in found] == [("b", "a"), ("c", "a"), ("d", "c")]
    assert found[2].similarity == 1


def test_a_thousand_copies_name_the_first() -> None:
    found = near_duplicates({f"{i:04d}": "All these documents say quite the same." for i in range(1000)})
    assert len(found) == 999
    assert {pair.of for pair in found} == {"0000"}


def test_short_documents_are_compared_whole() -> None:
    assert near_duplicates({"a": "Out of stock.", "b": "Out of order.", "c": "***", "d": "---"}) == ()
    assert near_duplicates({"a": "A pump of steel.", "b": "Steel of a pump."}) == ()
    found = near_duplicates({"a": "Out of stock.", "b": "out of stock", "c": "***", "d": "***"})
    assert [pair.document_id for pair in found] == ["b", "d"]
    assert near_duplicates({}) == ()


class OnDemand(Mapping[str, str]):
    """Texts that notes which were looked up."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.read: set[str] = set()

    def __getitem__(self, id_: str) -> str:
        self.read.add(id_)
        return self.texts[id_]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


def test_with_signatures_only_the_texts_of_likely_pairs_are_read() -> None:
    texts = {f"{i:02d}": " ".join(essay(i)) for i in range(20)} | {"99": " ".join([*essay(7), "more"])}
    lazy = OnDemand(texts)
    found = near_duplicates(lazy, signatures={id_: signature(text) for id_, text in texts.items()})
    assert found == near_duplicates(texts)
    assert [(pair.document_id, pair.of) for pair in found] == [("99", "07")]
    assert lazy.read == {"07", "99"}


def test_signatures_are_the_same_on_every_machine() -> None:
    mark = signature("The pump, made in Tarnbeck, weighs 1.9 kg.")
    assert len(mark) == 512
    assert mark[:8].hex() == "15f3d51810f77a5a"
