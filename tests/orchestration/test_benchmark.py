"""The methods benchmark as a flow: a real Prefect server, real Postgres, a real (tiny, random) model."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from pumps import NAMES, configure, write_catalogue

from bench.teacher_server import Answer, TeacherServer
from csift import registry
from csift.benchmarks import Benchmark
from csift.config import BenchmarkConfig, LoopConfig
from csift.corpus import last_ingest
from csift.db import Database
from csift.db.learning import AdapterRow, CallRow
from csift.db.operations import CycleRow
from csift.exceptions import ConfigError, CsiftError
from csift.leases import hold
from csift.models import BaseModel
from csift.rag import load_compiled
from csift.schemas import Adapter, Cycle, CycleState, EvalReport, EvalSet, System
from flows.benchmark import benchmark
from tasks.collaborators import store
from tasks.progress import show_in

QUICK = ("base", "rag", "sft+rag")


@pytest.fixture
def config(tmp_path: Path, project: str, tiny_model: BaseModel) -> LoopConfig:
    """The project's documents name it, so that no other test has asked about them."""
    write_catalogue(tmp_path, tuple(f"{name} {project}" for name in NAMES))
    told = configure(tmp_path, project, tiny_model.path, max_steps=2)
    few = BenchmarkConfig(chunk_sizes=(200, 450), ks=(1, 2), bootstrapped=1, labelled=2, mistakes_of=3)
    return told.model_copy(update={"benchmark": few})


def run(config: LoopConfig, *arms: str, golden: bool = False) -> Benchmark:
    return benchmark(config, arms=list(arms), golden=golden, return_state=True).result()


def counted(db: Database) -> tuple[int, int]:
    """Model calls and adapters that exist."""
    with db.session() as session:
        calls, adapters = (session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (CallRow, AdapterRow))
    return calls or 0, adapters or 0


def golden_too(config: LoopConfig) -> None:
    """The last product's questions become the golden part."""
    file = config.corpus.questions[0]
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[-2:]:
        row["split"] = "golden"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_arms_are_judged_on_the_same_questions_and_leave_table_answers_and_page(db: Database, config: LoopConfig) -> None:
    table = run(config, *QUICK)

    assert [row.arm for row in table.rows] == list(QUICK)
    assert {row.questions for row in table.rows} == {6}
    reports = [registry.load(db, EvalReport, id_) for row in table.rows for id_ in row.reports.values()]
    assert len(reports) == 6
    assert len({tuple(answer.item_id for answer in report.answers) for report in reports}) == 1
    folder = f"benchmarks/{table.id}"
    lines = list(csv.DictReader(StringIO(store().get(f"{folder}/summary.csv").decode())))
    assert [line["arm"] for line in lines] == list(QUICK)
    samples = json.loads(store().get(f"{folder}/samples.json"))
    assert all(set(asked["answers"]) == set(QUICK) for asked in samples["questions"])
    page = store().get(f"{folder}/report.html").decode()
    assert table.id in page and "sft+rag" in page and "standard error" in page
    assert Benchmark.model_validate_json(store().get(f"{folder}/benchmark.json")) == table


@pytest.mark.slow
def test_no_arm_learns_from_a_question_that_is_judged_and_the_project_stays_as_it_was(db: Database, config: LoopConfig) -> None:
    golden_too(config)
    table = run(config, *QUICK)

    system = registry.load(db, System, next(row for row in table.rows if row.arm == "sft+rag").system_id)
    adapter = registry.load(db, Adapter, system.adapter_id or "")
    assert adapter.dataset_id.startswith("benchmark-data-")
    assert next(row for row in table.rows if row.arm == "sft+rag").trained_on == 6  # the training products' questions
    with pytest.raises(CsiftError, match="no dataset"):
        _newest_dataset(db, config)
    assert registry.champion(db, config.project) is None
    ingested = last_ingest(db, config.project)
    assert ingested and ingested.snapshot.chunking.size == config.corpus.chunk_size


def _newest_dataset(db: Database, config: LoopConfig) -> object:
    from csift import dataset

    return dataset.find(db, config.project, "latest")


@pytest.mark.slow
def test_killed_in_the_middle_the_next_run_does_only_what_is_missing(db: Database, config: LoopConfig) -> None:
    def dies(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "sft+rag":
            raise KeyboardInterrupt

    with show_in(dies), pytest.raises(BaseException, match=""):
        run(config, *QUICK)
    calls, adapters = counted(db)
    assert calls > 0
    table = run(config, *QUICK)

    assert counted(db)[1] == adapters  # the adapter had been trained
    alone = [report for row in table.rows[:2] for report in row.reports.values()]
    with db.session() as session:
        own = sa.select(CycleRow.id).where(CycleRow.project == config.project)
        calls_of = sa.select(CallRow.key, sa.func.count()).where(CallRow.cycle_id.in_(own)).group_by(CallRow.key)
        asked = session.execute(calls_of).tuples().all()
    assert {count for _, count in asked} == {1}  # nothing was asked twice
    assert len(alone) == 4
    before = counted(db)
    assert run(config, *QUICK).id == table.id
    assert counted(db) == before


@pytest.mark.slow
def test_the_golden_part_is_opened_only_when_asked_for(db: Database, config: LoopConfig) -> None:
    golden_too(config)
    usual = run(config, "base", "rag")
    opened = run(config, "base", "rag", golden=True)

    assert (usual.golden, usual.questions) == (False, 4)
    assert (opened.golden, opened.questions) == (True, 2)
    items = registry.load(db, EvalSet, opened.evalset_id).items
    assert {item.id for item in items} == {"Fir " + config.project + "-0", "Fir " + config.project + "-1"}
    assert registry.load(db, EvalSet, usual.evalset_id).previous_id is None


def test_without_a_golden_part_there_is_none_to_open(config: LoopConfig) -> None:
    with pytest.raises(ConfigError, match="golden"):
        run(config, "base", golden=True)


def test_a_wrong_arm_or_one_that_needs_a_prompt_model_is_told_before_anything_is_done(db: Database, config: LoopConfig) -> None:
    before = counted(db)
    with pytest.raises(ConfigError, match="no benchmark arm 'sfd'"):
        run(config, "sfd")
    with pytest.raises(ConfigError, match="prompt_model"):
        run(config, "rag-mipro")
    assert counted(db) == before
    assert last_ingest(db, config.project) is None


def test_while_a_cycle_of_the_project_goes_on_it_is_skipped(db: Database, config: LoopConfig) -> None:
    with hold(db, f"cycle of {config.project}"):
        state = benchmark(config, return_state=True)
    assert state.name == "Skipped"
    told = state.result()
    assert isinstance(told, Cycle) and told.state is CycleState.SKIPPED


@pytest.mark.slow
def test_another_model_answers_over_the_same_excerpts_at_its_own_price(
    db: Database, config: LoopConfig, serve: Callable[[TeacherServer], None]
) -> None:
    def script(prompt: str, time: int) -> Answer:
        return Answer("[[ ## answer ## ]]\n4 kg\n\n[[ ## completed ## ]]")

    spec = "openai/gpt-4o-mini"
    with TeacherServer(script) as server:
        serve(server)
        table = run(config, "rag", f"rag@{spec}", f"rag-bootstrap@{spec}")
    served = table.rows[1]
    assert (served.model, served.trained_on) == (spec, 0)
    assert served.monthly_usd and served.monthly_usd.value > 0
    assert registry.load(db, System, served.system_id).k == registry.load(db, System, table.rows[0].system_id).k
    optimised = registry.load(db, System, table.rows[2].system_id)
    assert optimised.program == "optimised"
    assert load_compiled(store(), optimised.program_hash).hash == optimised.program_hash


@pytest.mark.slow
def test_the_default_arms_give_one_table(db: Database, config: LoopConfig) -> None:
    table = run(config)

    assert [row.arm for row in table.rows] == ["base", "rag", "rag-bootstrap", "sft", "sft+rag", "dpo", "dpo+rag"]
    for row in table.rows:
        assert set(row.accuracy) == {"reference", "token F1"}
        assert row.wins + row.losses + row.ties == row.questions - row.failures
        assert row.monthly_usd and row.monthly_usd.value > 0
        assert (row.arm in ("base", "sft", "dpo")) == row.closed_book
    adapters = {row.arm: registry.load(db, System, row.system_id).adapter_id for row in table.rows}
    assert adapters["sft"] == adapters["sft+rag"] != adapters["dpo"] == adapters["dpo+rag"]


@pytest.mark.slow
def test_the_data_ablation_compares_answers_two_by_two_by_two_judges(db: Database, config: LoopConfig) -> None:
    table = run(config, "data:2", "data:all", "data:2+synthetic")

    assert [row.arm for row in table.rows] == ["rag", "data:2", "data:all", "data:2+synthetic"]
    assert [row.trained_on for row in table.rows[:3]] == [0, 2, 6]
    assert len(table.win_rates) == 6 * 2
    assert {rate.judge for rate in table.win_rates} == {"reference", "token F1"}
    assert all(rate.wins + rate.losses + rate.ties + rate.failures == 6 for rate in table.win_rates)


@pytest.mark.slow
def test_the_whole_table_runs_every_method(db: Database, config: LoopConfig) -> None:
    methods = ("cpt", "cpt-sft", "orpo", "kto", "ppo", "grpo")
    online = config.training.model_copy(update={"batch_size": 4, "samples": 2, "answer_tokens": 4})
    names = [name for method in methods for name in (method, f"{method}+rag")]
    table = run(config.model_copy(update={"training": online}), *names)

    assert [row.arm for row in table.rows] == ["rag", *names]
    stages = {
        row.arm: registry.load(db, Adapter, registry.load(db, System, row.system_id).adapter_id or "").stages
        for row in table.rows[1:]
    }
    assert stages["ppo"] == ("sft", "reward", "ppo") and stages["cpt-sft+rag"] == ("cpt", "sft")
    systems = {row.arm: registry.load(db, System, row.system_id) for row in table.rows}
    assert systems["cpt"].adapter_id != systems["cpt+rag"].adapter_id  # one has read the judged documents, one has not
    assert systems["kto"].adapter_id == systems["kto+rag"].adapter_id
