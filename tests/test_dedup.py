"""Near-duplicates: the first is kept, a changed number or name is another question, groups are apart, order decides."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csift import dedup
from csift.dedup import deduplicate
from csift.exceptions import ModelError
from csift.static_model import StaticEmbedder, static_embedder

THINGS = ("lamp", "kettle", "anvil", "rope", "wheel", "spade")
LONG = "What does the big red kettle on the upper floor of the old workshop weigh when it is full"


def kept(texts: Sequence[str], words: Any, **options: Any) -> list[int]:
    return deduplicate(texts, words, threshold=0.85, **options)


def test_the_first_of_near_duplicates_is_kept(words: Any) -> None:
    assert kept([f"{LONG}?", "Who made it?", f"{LONG}, please?", f"{LONG} then?"], words) == [0, 1]


def test_copies_are_found_whatever_their_case(words: Any) -> None:
    assert kept(["How heavy is the Orrin?", "HOW HEAVY IS THE ORRIN", " how  heavy is the orrin? "], words) == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{LONG} of 5 litres?", f"{LONG} of 7 litres?"),
        (f"{LONG} of five litres?", f"{LONG} of seven litres?"),
        (f"{LONG} for the Kestrel?", f"{LONG} for the Marlow?"),
        (f"{LONG} for the buyer?", f"{LONG} for the seller?"),
        (f"Isolde asks: {LONG.lower()}?", f"Corrie asks: {LONG.lower()}?"),
        (f"{LONG} above $5?", f"{LONG} above €5?"),
    ],
)
def test_a_changed_number_name_or_role_is_no_duplicate(one: str, other: str, words: Any) -> None:
    assert kept([one, other], words) == [0, 1]


def test_equal_texts_of_different_documents_stay(words: Any) -> None:
    texts = [f"{LONG}?", f"{LONG}?", f"{LONG}, please?"]
    assert kept(texts, words, groups=["a.md", "b.md", "a.md"]) == [0, 1]


def test_a_duplicate_of_a_dropped_text_alone_stays(words: Any) -> None:
    chain = ["lamp kettle anvil rope", "lamp kettle anvil wheel", "lamp kettle spade wheel"]
    assert deduplicate(chain, words, threshold=0.74) == [0, 2]


def test_nothing_in_nothing_out(words: Any) -> None:
    assert kept([], words) == []
    assert kept(["", "?"], words) == [0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(THINGS), min_size=1, max_size=6).map(" ".join)))
def test_no_two_kept_are_duplicates_and_every_other_has_one_before_it(texts: list[str], words: Any) -> None:
    chosen = deduplicate(texts, words, threshold=0.9)
    assert chosen == sorted(set(chosen))
    vectors = words.embed(texts)
    for i in range(len(texts)):
        alike = [j for j in chosen if j < i and vectors[i] @ vectors[j] >= 0.9]
        assert (i in chosen) == (not alike)


class Vectors:
    """An embedder that looks its vectors up: texts are their row numbers, spelt without digits."""

    id = "vectors"
    dim = 32

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.vectors[[int("".join(str("abcdefghij".index(letter)) for letter in text)) for text in texts]]


def test_the_search_by_cells_finds_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(900, 32))
    near = base[rng.integers(0, 900, 300)] + rng.normal(scale=0.35, size=(300, 32))
    vectors = np.concatenate([base, near]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = ["".join("abcdefghij"[int(digit)] for digit in str(i)) for i in range(len(vectors))]
    random.Random(0).shuffle(texts)
    exhaustive = deduplicate(texts, Vectors(vectors), threshold=0.85)
    monkeypatch.setattr(dedup, "EXHAUSTIVE", 100)
    monkeypatch.setattr(dedup, "BLOCK", 256)
    by_cells = deduplicate(texts, Vectors(vectors), threshold=0.85)
    assert 850 < len(exhaustive) < 950
    assert len(set(by_cells) ^ set(exhaustive)) <= 9
    assert deduplicate(texts, Vectors(vectors), threshold=0.85) == by_cells


# --- the static embedder ----------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(ModelError, match="cannot keep the static embedder"):
        static_embedder(tmp_path)


def test_a_static_embedder_gives_unit_vectors_and_is_deterministic(tmp_path: Path) -> None:
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    from csift.models import minilm_folder

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    vectors = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 128)).astype(np.float32)
    StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "static")
    embedder = StaticEmbedder(tmp_path / "static")
    found = embedder.embed(["How heavy is it?", "how HEAVY is it?", ""])
    assert found.shape == (3, 128) and found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 0], abs=1e-5)
    assert (found[0] == found[1]).all()
    assert embedder.embed([]).shape == (0, 128)


@pytest.mark.slow
def test_the_distilled_model_knows_what_is_alike_and_is_kept(tmp_path: Path) -> None:
    embedder = static_embedder(tmp_path)
    heavy, weigh, law = embedder.embed(["How heavy is the machine?", "What weight has the machine?", "Which law applies?"])
    assert heavy @ weigh > heavy @ law + 0.2
    before = sorted((path.name, path.stat().st_mtime_ns) for path in embedder.folder.iterdir())
    again = static_embedder(tmp_path)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in again.folder.iterdir()) == before
    assert not list((tmp_path / "models").glob("*.part"))
