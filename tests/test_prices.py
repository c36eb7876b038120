"""What served models cost, and that a cycle's budget is held."""

from datetime import UTC, datetime
from typing import Any

import pytest
from teachers import SPECS, ask, aws_keys, fields, served, topic

from bench.teacher_server import Answer, TeacherServer
from csift import cycles
from csift.db import Database
from csift.exceptions import BudgetExhausted, ConfigError
from csift.ledger import Budget, Ledger, cost_of, spent
from csift.llm import remote_model
from csift.prices import price_of
from csift.settings import Settings


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    aws_keys(monkeypatch)


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> str:
    """One model of each protocol."""
    return SPECS[request.param]


def topics(project: str, count: int) -> list[str]:
    """Questions that no other test has asked."""
    return [f"{project} {i}" for i in range(count)]


@pytest.mark.parametrize("budget", [Budget(tokens=6000), Budget(usd=0.003), Budget(usd=0.003, tokens=1_000_000)])
def test_the_budget_is_never_exceeded_and_the_next_run_continues(
    db: Database, project: str, cycle: str, spec: str, budget: Budget
) -> None:
    price = {"usd_per_million_in": 0.5, "usd_per_million_out": 0.5}
    asked = topics(project, 60)
    with TeacherServer(lambda prompt, time: Answer(fields(topic(prompt).upper()), tokens_in=200, tokens_out=100)) as server:
        with pytest.raises(BudgetExhausted, match="it continues where it stopped") as told:
            ask(served(server, Ledger(db, cycle), spec, budget=budget, **price), asked)
        tokens, usd = spent(db, cycle)
        assert 5400 < tokens <= 6000 and usd <= 0.003 + 1e-9
        assert len(server.received) == cost_of(db, cycle).calls == tokens / 300
        assert "\n" not in str(told.value)

        with pytest.raises(BudgetExhausted):  # the same cycle again has no more than before
            ask(served(server, Ledger(db, cycle), spec, budget=budget, **price), asked)
        assert spent(db, cycle)[0] <= 6000

        later = cycles.begin(db, project, "manual", datetime(2026, 11, 21, 2, tzinfo=UTC))
        model = served(server, Ledger(db, later), spec, budget=Budget(tokens=100_000), **price)
        assert ask(model, asked) == [topic.upper() for topic in asked]
        assert set(server.asked().values()) == {1}


def test_money_is_limited_only_where_the_price_is_known(ledger: Ledger) -> None:
    where = Settings(openai_base_url="http://127.0.0.1:1/v1")
    options: dict[str, Any] = {"settings": where, "concurrency": 1, "max_tokens": 10, "budget": Budget(usd=1.0)}
    with pytest.raises(ConfigError, match=r"nobody knows what openai/house-llama costs.*usd_per_million_in"):
        remote_model("openai/house-llama", ledger, "teacher", **options)
    remote_model("openai/house-llama", ledger, "teacher", **options, usd_per_million_in=0.0, usd_per_million_out=0.0)
    remote_model("openai/house-llama", ledger, "teacher", **{**options, "budget": Budget(tokens=5)})


@pytest.mark.parametrize(
    "name", ["bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", "bedrock/ca.anthropic.claude-3-5-sonnet-20241022-v2:0"]
)
def test_prices_come_from_litellms_table_and_an_override_goes_first(name: str) -> None:
    price, override = price_of(name), price_of(name, usd_per_million_out=10.0)
    assert price is not None and price.of(1_000_000, 100_000) == pytest.approx(3.0 + 1.5)
    assert override is not None and override.of(1_000_000, 100_000) == pytest.approx(3.0 + 1.0)
    assert price_of("openai/house-llama") is None
