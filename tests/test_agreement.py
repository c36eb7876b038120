"""Agreement beyond chance: the published examples, and what holds for any ratings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csift.agreement import cohens_kappa, krippendorffs_alpha

# Four observers and twelve units, C in Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
OBSERVERS = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
UNITS = [[rating for rating in unit if rating != "."] for unit in zip(*(row.split() for row in OBSERVERS), strict=True)]

verdicts = st.sampled_from(["champion", "challenger", "tie", "both bad"])
pairs = st.lists(st.tuples(verdicts, verdicts), min_size=1, max_size=30)
things = st.lists(st.lists(verdicts, max_size=5), max_size=20)


def test_alpha_is_that_of_the_published_example() -> None:
    assert krippendorffs_alpha(UNITS) == pytest.approx(0.743, abs=0.0005)


def test_kappa_is_that_of_a_worked_table() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement 0.7, by chance 0.5."""
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(one, other) == pytest.approx(0.4)


@pytest.mark.parametrize("rated", [[], [["tie"]], [["tie", "tie"], ["tie", "tie"]]])
def test_where_nothing_can_differ_there_is_no_figure(rated: list[list[str]]) -> None:
    assert krippendorffs_alpha(rated) is None
    assert cohens_kappa([row[0] for row in rated], [row[-1] for row in rated]) is None


@given(pairs)
def test_kappa_is_symmetric_and_at_most_one_which_is_reached_by_agreeing(rated: list[tuple[str, str]]) -> None:
    one, other = ([pair[side] for pair in rated] for side in (0, 1))
    kappa = cohens_kappa(one, other)
    assert kappa == (pytest.approx(cohens_kappa(other, one)) if kappa is not None else cohens_kappa(other, one))
    if kappa is not None:
        assert -1 <= kappa <= 1 + 1e-12 and (kappa > 1 - 1e-9) == (one == other)


@given(things, st.randoms(use_true_random=False))
def test_alpha_does_not_depend_on_who_rated_or_in_what_order(rated: list[list[str]], random: object) -> None:
    alpha = krippendorffs_alpha(rated)
    mixed = [random.sample(ratings, len(ratings)) for ratings in rated]  # type: ignore[attr-defined]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    again = krippendorffs_alpha([*mixed, ["tie"]])  # what one person rated says nothing of agreement
    assert again == (None if alpha is None else pytest.approx(alpha))


@given(things)
def test_alpha_is_one_when_all_agree_and_only_then(rated: list[list[str]]) -> None:
    alpha = krippendorffs_alpha(rated)
    if alpha is not None:
        assert alpha <= 1 and (alpha > 1 - 1e-9) == all(len(set(ratings)) == 1 for ratings in rated if len(ratings) > 1)


@given(pairs)
def test_for_two_raters_alpha_is_near_kappa(rated: list[tuple[str, str]]) -> None:
    """They differ in how chance is taken: alpha has one distribution for both (Scott's pi) and a correction for few things."""
    alpha, kappa = krippendorffs_alpha(rated), cohens_kappa(*zip(*rated, strict=True))  # type: ignore[arg-type]
    if alpha is not None and kappa is not None and len(rated) > 1:
        share = sum(one == other for one, other in rated) / len(rated)
        assert (alpha > 1 - 1e-9) == (kappa > 1 - 1e-9) == (share == 1)
