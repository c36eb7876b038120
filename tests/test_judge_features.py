"""The reference judge on long gold answers: its similarities, and the weights that are fitted to recorded scores."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_judges import TrigramEmbedder, item, judge_one

from csift.exceptions import ConfigError
from csift.judges import ReferenceJudge
from csift.judges.features import FEATURES, Weights, cosines, fit, load_weights, prose_features, save_weights
from csift.judges.reference import judge_out_of_fold
from csift.schemas import LabelledAnswer
from csift.textmatch import REFUSAL

CLAUSE = (
    "Unless earlier terminated as provided herein, this Agreement continues in effect for an initial term of seven (7) years "
    "and will automatically renew for one or more annual periods after the initial term."
)
PROSE = st.text("abc ,.", max_size=80)


@given(PROSE, PROSE, PROSE)
def test_features_are_shares_and_the_gold_itself_has_all(question: str, gold: str, answer: str) -> None:
    one = item(question, f"{CLAUSE} {gold}", answer)
    itself = item(question, one.gold, one.gold or "")
    found, whole = (
        prose_features(each.answer, each.gold or "", similar)
        for each, similar in zip((one, itself), cosines([one, itself], TrigramEmbedder()), strict=True)
    )
    assert found.min() >= 0
    assert found.max() <= 1
    assert whole[:-1] == pytest.approx(1, abs=1e-6)


def test_more_of_the_gold_is_worth_more() -> None:
    words = CLAUSE.split()
    values = [judge_one("When does it end?", CLAUSE, " ".join(words[: len(words) * part // 5])).value for part in range(1, 6)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("answer", ["Yes.", "Yes, it is", "?!", "It has a green handle."])
def test_a_bare_yes_is_no_answer_to_a_gold_that_is_a_clause(answer: str) -> None:
    score = judge_one("Does this agreement renew?", CLAUSE, answer)
    assert not score.correct
    assert score.value < 0.3


@pytest.mark.parametrize("answer", ["?!", "It is."])
def test_an_answer_without_content_words_has_none_that_the_gold_has(answer: str) -> None:
    (similar,) = cosines([item("Does it renew?", CLAUSE, answer)], TrigramEmbedder())
    assert prose_features(answer, CLAUSE, similar)[FEATURES.index("precision")] == 0


def test_a_clause_on_another_matter_is_wrong_though_its_words_are_those_of_contracts() -> None:
    other = (
        "This Agreement may be terminated by either party upon written notice if the other party undergoes a change of control "
        "or fails to pay one or more invoices within the periods provided herein."
    )
    assert not judge_one("How long is the initial term?", CLAUSE, other).correct


def test_fit_learns_which_similarity_the_scores_go_by_and_only_from_prose() -> None:
    embedder = TrigramEmbedder()
    words = CLAUSE.split()
    answers = [" ".join(words[:count] + ["green"] * noise) for count in (4, 8, 16, 24, 32) for noise in (0, 10, 30)]
    items = [item(f"Question {n % 5}?", CLAUSE, answer) for n, answer in enumerate(answers)]
    found = [prose_features(one.answer, CLAUSE, similar) for one, similar in zip(items, cosines(items, embedder), strict=True)]
    weights = [
        dict(zip(FEATURES, fit(items, [float(row[FEATURES.index(name)]) for row in found], embedder).values, strict=True))
        for name in ("gold_quoted", "precision")
    ]
    for learnt in weights:
        assert sum(learnt.values()) == pytest.approx(1, abs=0.005)
        assert min(learnt.values()) >= 0
    assert weights[0]["gold_quoted"] > weights[1]["gold_quoted"]
    assert weights[0]["precision"] < weights[1]["precision"]
    scores = [float(row[0]) for row in found]
    short = [item("How heavy is it?", "29 kg", "31 kg"), item("How heavy is it?", CLAUSE, REFUSAL)]
    assert fit([*items, *short], [*scores, 1.0, 1.0], embedder) == fit(items, scores, embedder)
    with pytest.raises(ConfigError, match="not one of 2 scored answers has a gold answer of 20 words and more"):
        fit(short, [0.0, 0.0], embedder)


def test_weights_are_read_as_written_and_part_of_the_id(tmp_path: Path) -> None:
    weights = Weights((0.5, 0.1, 0.1, 0.1, 0.1, 0.1), "trigrams", 10, 2)
    save_weights(weights, tmp_path / "weights.json")
    assert load_weights(tmp_path / "weights.json") == weights
    assert ReferenceJudge(TrigramEmbedder(), weights=weights).id != ReferenceJudge(TrigramEmbedder()).id
    (tmp_path / "weights.json").write_text("{}")
    with pytest.raises(ConfigError, match="does not hold the reference judge's weights"):
        load_weights(tmp_path / "weights.json")


def test_out_of_fold_no_answer_is_judged_by_weights_of_its_own_question() -> None:
    embedder = TrigramEmbedder()
    words = CLAUSE.split()
    labels = [
        LabelledAnswer(item=item(question, CLAUSE, " ".join(words[:count])), group=question, score=count / 32, correct=None)
        for question in ("One?", "Two?", "Three?")
        for count in (4, 12, 20, 28)
    ]
    said = judge_out_of_fold(labels, embedder)
    lies = [label if label.group != "Two?" else label.model_copy(update={"score": 1 - (label.score or 0)}) for label in labels]
    again = judge_out_of_fold(lies, embedder)
    assert said[4:8] == again[4:8]
    assert said[:4] != again[:4]
