"""The ledger: none that was paid for is made again, and a budget is held."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teachers import Model, ask_all

from csift import cycles
from csift.db import Database
from csift.exceptions import BudgetExhausted
from csift.ledger import Budget, Call, Charge, Ledger, cost_of, outcomes, spent, unsettled
from csift.llm import local_model
from csift.schemas import Cost, Failure, Generation, GenerationParams


def questions(count: int) -> list[str]:
    return [f"q{i:02}" for i in range(count)]


def raises(error: BaseException, after: int = 0) -> Callable[[int], None]:
    def fail(batches: int) -> None:
        if batches >= after:
            raise error

    return fail


def test_a_call_in_the_ledger_is_not_made_again(db: Database, project: str, cycle: str) -> None:
    ask_all(local_model(Model(project), Ledger(db, cycle), "rag"), questions(4))
    later = cycles.begin(db, project, "manual", datetime(2026, 11, 21, 2, tzinfo=UTC))
    idle = Model(project, raises(AssertionError("called again")))
    assert ask_all(local_model(idle, Ledger(db, later), "rag"), questions(4)) == ["Q00", "Q01", "Q02", "Q03"]
    assert cost_of(db, cycle) == Cost(calls=4, reused_calls=0, tokens_in=20, tokens_out=8)
    assert cost_of(db, later) == Cost(calls=0, reused_calls=4)


def test_a_run_that_was_cut_off_pays_only_for_the_rest(db: Database, project: str, cycle: str) -> None:
    dying = Model(project, raises(RuntimeError("killed"), after=1))
    with pytest.raises(Exception, match="killed"):
        ask_all(local_model(dying, Ledger(db, cycle), "rag"), questions(6), twice=lambda question: True)
    assert cost_of(db, cycle).calls == 6
    rest = Model(project)
    answers = ask_all(local_model(rest, Ledger(db, cycle), "rag"), questions(6), twice=lambda question: True)
    assert answers == [f"Q{i:02} AGAIN" for i in range(6)]
    assert [len(batch) for batch in rest.batches] == [6]
    assert (cost_of(db, cycle).calls, cost_of(db, cycle).reused_calls) == (12, 6)


def test_another_adapter_or_prompt_or_setting_is_another_call(db: Database, project: str) -> None:
    ledger = Ledger(db)
    chat = ({"role": "user", "content": "hello"},)
    call = Call(project, "rag", chat, GenerationParams())
    others = [
        Call(f"{project}+adapter", "rag", chat, GenerationParams()),
        Call(project, "rag", ({"role": "system", "content": "hello"},), GenerationParams()),
        Call(project, "rag", chat, GenerationParams(max_new_tokens=33)),
        Call(project, "rag", chat, GenerationParams(seed=1)),
    ]
    ledger.book([(call, Generation(text="hi", finish="stop", tokens_in=1, tokens_out=1, seconds=0.0))])
    assert ledger.find([call, *others]).keys() == {call.key}
    # Who asks is for the accounts only.
    assert ledger.find([Call(project, "teacher", chat, GenerationParams())]).keys() == {call.key}


def test_an_adapter_has_answers_of_its_own(db: Database, project: str) -> None:
    base, tuned = Model(project), Model(project)
    ask_all(local_model(base, Ledger(db), "rag"), ["q"])
    ask_all(local_model(tuned, Ledger(db), "rag", "/adapters/a", "adapter-a"), ["q"])
    assert (len(base.batches), len(tuned.batches)) == (1, 1)


def test_the_first_answer_to_a_call_stays(db: Database, project: str) -> None:
    call = Call(project, "rag", ({"role": "user", "content": "hello"},), GenerationParams())
    for text in ("first", "second"):
        Ledger(db).book([(call, Generation(text=text, finish="stop", tokens_in=1, tokens_out=1, seconds=0.0))])
    assert Ledger(db).find([call])[call.key].text == "first"


def test_a_cycle_costs_its_own_calls_only(db: Database, project: str, cycle: str) -> None:
    chat = ({"role": "user", "content": "hello"},)
    made = [
        (
            Call(project, "teacher", chat, GenerationParams(seed=i)),
            Generation(text="x", finish="length", tokens_in=7, tokens_out=i, seconds=0.2),
        )
        for i in range(3)
    ]
    Ledger(db, cycle).book(made[:2])
    Ledger(db).book(made[2:])
    assert cost_of(db, cycle) == Cost(calls=2, reused_calls=0, tokens_in=14, tokens_out=1)
    assert cost_of(db, f"{project}-unknown") == Cost()


# --- calls that cost money ------------------------------------------------------------------------------------------------

HELLO = ({"role": "user", "content": "hello"},)
ANSWER = Generation(text="hi", finish="stop", tokens_in=7, tokens_out=2, seconds=0.1)


def paid(project: str, seed: int = 0) -> Call:
    return Call(project, "teacher", HELLO, GenerationParams(seed=seed))


def test_a_call_counts_at_its_most_until_its_end_is_known(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    first = ledger.reserve(paid(project, 1), Charge(10, 100, 0.5), Budget())
    ledger.reserve(paid(project, 2), Charge(20, 200, 1.0), Budget())
    assert spent(db, cycle) == (330, 1.5)
    assert [call.charge for call in unsettled(db, cycle)] == [Charge(10, 100, 0.5), Charge(20, 200, 1.0)]
    assert ledger.find([paid(project, 1)]) == {}

    ledger.settle(first, "stop", Charge(7, 2, 0.01), 0.1, ANSWER)
    assert spent(db, cycle) == pytest.approx((229, 1.01))
    assert [call.charge.tokens for call in unsettled(db, cycle)] == [220]
    assert ledger.find([paid(project, 1)]) == {paid(project, 1).key: ANSWER}
    assert outcomes(db, cycle) == {"in flight": 1, "stop": 1}
    cost = cost_of(db, cycle)
    assert (cost.calls, cost.tokens_in, cost.tokens_out, cost.usd) == (1, 27, 202, pytest.approx(1.01))


def test_to_book_an_answer_twice_changes_nothing(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    reservation = ledger.reserve(paid(project), Charge(10, 100, 0.5), Budget())
    for usd in (0.01, 0.2):
        ledger.settle(reservation, "stop", Charge(7, 2, usd), 0.1, ANSWER)
    assert spent(db, cycle) == pytest.approx((9, 0.01))


def test_a_failed_call_is_booked_and_not_reused(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    for outcome in ("throttled", "throttled", "unavailable"):
        ledger.settle(ledger.reserve(paid(project), Charge(10, 100, 0.5), Budget()), outcome, Charge(), 0.1)
    assert ledger.find([paid(project)]) == {}
    assert outcomes(db, cycle) == {"throttled": 2, "unavailable": 1}
    assert cost_of(db, cycle) == Cost()


def test_a_refusal_is_an_answer_that_was_paid_for(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    refusal = Failure(kind="refused", message="I cannot help with that.")
    ledger.settle(ledger.reserve(paid(project), Charge(10, 100, 0.5), Budget()), "refused", Charge(7, 5, 0.02), 0.1, refusal)
    assert ledger.find([paid(project)]) == {paid(project).key: refusal}


def test_a_cost_without_a_known_price_stays_unknown(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    reservation = ledger.reserve(paid(project), Charge(10, 100, None), Budget(tokens=200))
    ledger.settle(reservation, "stop", Charge(7, 2, None), 0.1, ANSWER)
    assert spent(db, cycle) == (9, 0.0)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(tokens=219), "110 of 219 tokens"),
        (Budget(usd=0.99), r"\$0.5000 of \$0.9900"),
        (Budget(usd=5.0, tokens=219), "110 of 219 tokens"),
    ],
)
def test_a_call_that_the_budget_has_no_room_for_is_not_made(
    db: Database, project: str, cycle: str, budget: Budget, said: str
) -> None:
    ledger = Ledger(db, cycle)
    ledger.reserve(paid(project, 1), Charge(10, 100, 0.5), budget)
    with pytest.raises(BudgetExhausted, match=said):
        ledger.reserve(paid(project, 2), Charge(10, 100, 0.5), budget)
    assert spent(db, cycle) == (110, 0.5)
    assert outcomes(db, cycle) == {"in flight": 1}


def test_the_first_call_of_a_cycle_must_fit_as_well(db: Database, project: str, cycle: str) -> None:
    with pytest.raises(BudgetExhausted, match="0 of 100 tokens"):
        Ledger(db, cycle).reserve(paid(project), Charge(10, 100, 0.5), Budget(tokens=100))
    assert outcomes(db, cycle) == {}


def test_a_budget_fits_to_the_last_token_and_cent(db: Database, project: str, cycle: str) -> None:
    ledger = Ledger(db, cycle)
    for seed in range(10):  # ten tenths are not quite one in floating point
        ledger.reserve(paid(project, seed), Charge(10, 90, 0.1), Budget(usd=1.0, tokens=1000))
    with pytest.raises(BudgetExhausted):
        ledger.reserve(paid(project, 10), Charge(0, 0, 0.001), Budget(usd=1.0))


def test_another_cycle_has_a_budget_of_its_own(db: Database, project: str, cycle: str) -> None:
    later = cycles.begin(db, project, "manual", datetime(2026, 11, 21, 2, tzinfo=UTC))
    for id_ in (cycle, later):
        Ledger(db, id_).reserve(paid(project), Charge(10, 90, 0.5), Budget(tokens=100))
    assert spent(db, later) == (100, 0.5)


def test_threads_that_reserve_at_once_share_one_budget(db: Database, project: str, cycle: str) -> None:
    def reserve(seed: int) -> bool:
        try:
            Ledger(db, cycle).reserve(paid(project, seed), Charge(3, 4, 0.07), Budget(usd=0.7, tokens=10_000))
        except BudgetExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(reserve, range(40)))
    assert sum(made) == 10
    assert spent(db, cycle) == pytest.approx((70, 0.7))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.booleans()), max_size=12))
def test_what_counts_is_the_sum_of_the_calls(db: Database, calls: list[tuple[int, int, float, bool]]) -> None:
    cycle = cycles.begin(db, "t-sums", "manual", datetime.now(UTC))
    ledger, budget = Ledger(db, cycle), Budget(usd=3.0, tokens=400)
    for seed, (took, more, usd, ends) in enumerate(calls):
        try:
            reservation = ledger.reserve(paid("t-sums", seed), Charge(took, more, usd), budget)
        except BudgetExhausted:
            continue
        if ends:
            ledger.settle(reservation, "stop", Charge(took, 0, usd / 2), 0.0, ANSWER)
    cost = cost_of(db, cycle)
    tokens, usd = spent(db, cycle)
    assert tokens == cost.tokens_in + cost.tokens_out <= 400
    assert usd == pytest.approx(cost.usd) and usd <= 3.0 + 1e-6
