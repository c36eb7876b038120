"""`csift gc`: what nothing refers to goes, what a champion or a decision refers to never does."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from samples import sample_decision, sample_drift, sample_eval_report, sample_eval_set, sample_evidence
from sqlalchemy.orm import Session
from stores import bucket_keys, empty_s3, serving_s3

from csift import jobs, registry
from csift.cleanup import Collection, collect
from csift.cleanup.rule import Answering, Facts, Fate, Item, Trained, items, judge
from csift.db import Database
from csift.db.connection import open_database
from csift.db.corpus import SnapshotRow
from csift.db.learning import CustomModelRow, DatasetRow
from csift.db.operations import CycleRow, DriftReportRow, MonitorReportRow, TaskResultRow
from csift.exceptions import CycleRunning, StorageError
from csift.interfaces import ObjectStore
from csift.leases import hold
from csift.reports.cleanup import print_collection
from csift.reports.console import make_console
from csift.schemas import Adapter, GenerationParams, PromotionDecision, System, Verdict
from csift.settings import Settings
from csift.storage import LocalStore

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WEEK = timedelta(days=7)
LONG_AGO = timedelta(days=400)


# --- the rule -------------------------------------------------------------------------------------------------------------

ADAPTERS = [f"adapter-{number}" for number in range(5)]
DATASETS = [f"dataset-{number}" for number in range(3)]
SYSTEMS = [f"system-{number}" for number in range(4)]
DRIFT = [f"drift-{number}" for number in range(3)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Facts, list[Item]]:
    """Any references between a few things, and a store that has all of those things, each of any age."""
    some = lambda names: draw(st.frozensets(st.sampled_from(names)))  # noqa: E731
    maybe = lambda names: draw(st.none() | st.sampled_from(names))  # noqa: E731
    trained = {
        id_: Trained(
            f"adapters/{id_}/h{draw(st.integers(1, 2))}", (*sorted(some(ADAPTERS)), id_), draw(st.sampled_from(DATASETS))
        )
        for id_ in ADAPTERS
    }
    drifted = some(DRIFT)
    facts = Facts(
        systems={id_: Answering(maybe(ADAPTERS), maybe(DATASETS)) for id_ in SYSTEMS},
        adapters=trained,
        champions=some(SYSTEMS),
        decided=some(SYSTEMS),
        newest=some(DATASETS),
        teachers={id_: maybe(ADAPTERS) for id_ in DATASETS},
        in_work=some(DATASETS),
        drift=frozenset(DRIFT),
        quiet=frozenset(DRIFT) - drifted,
    )
    keys = [f"adapters/{id_}/h{holder}" for id_ in ADAPTERS for holder in (1, 2)]
    keys += [f"checkpoints/{id_}/h1/00000015" for id_ in (*ADAPTERS, "adapter-unfinished")]
    keys += [f"drift/{id_}.html" for id_ in DRIFT] + [f"data-cards/{id_}.html" for id_ in DATASETS]
    keys += ["decisions/decision-1.html", "reports/cycle-1.html", "benchmarks/b/report.html", "programs/p.json"]
    keys += ["adapters/adapter-of-another-database/h1", "adapters/adapter-0/dspy-1a2b", "drift/another.html", "photo.jpg"]
    ages = st.integers(0, 30)
    return facts, [
        Item(key, 1, NOW - timedelta(days=draw(ages)), key.startswith(("adapters", "checkpoints")), whole=True) for key in keys
    ]


@given(worlds())
def test_nothing_that_is_referred_to_is_collected(world: tuple[Facts, list[Item]]) -> None:
    facts, stored = world
    fates = {item.key: judge(item, facts, NOW, WEEK) for item in stored}
    age = {item.key: NOW - item.modified for item in stored}
    needed: set[str] = set()
    datasets = set(facts.newest | facts.in_work)
    for system in facts.champions | facts.decided:
        answering = facts.systems[system]
        if answering.adapter_id:
            needed.update(facts.adapters[answering.adapter_id].stage_ids)
            datasets.add(facts.adapters[answering.adapter_id].dataset_id)
        if answering.dataset_id:
            datasets.add(answering.dataset_id)
    for dataset in datasets:
        if teacher := facts.teachers[dataset]:
            needed.update(facts.adapters[teacher].stage_ids)
        assert fates[f"data-cards/{dataset}.html"] is Fate.KEPT
    for id_ in needed:
        assert fates[facts.adapters[id_].artifact] is Fate.KEPT
    for adapter in facts.adapters.values():
        if adapter.dataset_id in facts.in_work:
            assert fates[adapter.artifact] is Fate.KEPT
    for id_ in facts.drift - facts.quiet:
        assert fates[f"drift/{id_}.html"] is Fate.KEPT
    for key, fate in fates.items():
        assert isinstance(fate, Fate) or (age[key] > WEEK and key.startswith(("adapters", "checkpoints", "drift", "data-cards")))
        assert fate in (Fate.KEPT, Fate.UNKNOWN) or ("another" not in key and "dspy-" not in key)


NOBODY = Facts({}, {}, frozenset(), frozenset(), frozenset(), {}, frozenset(), frozenset(), frozenset())
OLD = Item("", 1, NOW - timedelta(days=8), artifact=True, whole=True)
ONE = replace(NOBODY, adapters={"a": Trained("adapters/a/h1", ("a",), "d")}, teachers={"d": None}, drift=frozenset({"x"}))


@pytest.mark.parametrize(
    ("item", "facts", "goes"),
    [
        (replace(OLD, key="adapters/a/h1"), ONE, True),
        (replace(OLD, key="adapters/a/h2"), replace(ONE, newest=frozenset({"d"})), True),
        (replace(OLD, key="adapters/a/h1", modified=NOW - timedelta(days=6)), ONE, False),
        (replace(OLD, key="adapters/a/h1"), replace(ONE, in_work=frozenset({"d"})), False),
        (replace(OLD, key="checkpoints/a/h1/00000015"), ONE, True),
        (replace(OLD, key="checkpoints/b/h1/00000015"), ONE, True),
        (replace(OLD, key="checkpoints/b/h1/00000015"), replace(ONE, in_work=frozenset({"job"})), False),
        (replace(OLD, key="adapters/b/h1", whole=False), NOBODY, True),
        (replace(OLD, key="adapters/b/h1", whole=False, modified=NOW - timedelta(hours=20)), NOBODY, False),
        (replace(OLD, key="doctor-12", whole=False), NOBODY, True),
        (replace(OLD, key="reports/.cycle-1.html.4711.139", artifact=False), NOBODY, True),
        (replace(OLD, key="reports/cycle-1.html", artifact=False), NOBODY, False),
        (replace(OLD, key="data-cards/d.html", artifact=False), ONE, True),
        (replace(OLD, key="drift/x.html", artifact=False), replace(ONE, quiet=frozenset({"x"})), True),
        (replace(OLD, key="drift/x.html", artifact=False), ONE, False),
    ],
    ids=lambda value: value.key if isinstance(value, Item) else "",
)  # fmt: skip
def test_what_goes_and_when(item: Item, facts: Facts, goes: bool) -> None:
    assert isinstance(judge(item, facts, NOW, WEEK), Fate) is not goes


# --- a store and a database -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(empty: str, tmp_path: Path) -> Iterator[Database]:
    """A database of the test's own."""
    with closing(open_database(Settings(data_dir=tmp_path, database_url=SecretStr(empty)))) as opened:
        yield opened


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with serving_s3() as made:
        yield made


@dataclass(frozen=True)
class World:
    """A project with a champion, a challenger that was held, and a good deal that nobody needs."""

    db: Database
    store: ObjectStore
    folder: Path

    def adapter(self, session: Session, id_: str, dataset: str) -> None:
        """A trained adapter, whole in the store."""
        key = f"adapters/{id_}/job.1"
        registry.save_adapter(
            session,
            Adapter(
                id=id_, base_model="m", base_revision="1", stages=("sft",), stage_ids=(id_,), config_hash="c", dataset_id=dataset,
                metrics={}, artifact=key,
            ),
        )  # fmt: skip
        self.store.publish(key, self.folder, {})

    def system(self, adapter: str | None, base_model: str = "m") -> System:
        """A System that answers with an adapter, or with a model of Bedrock."""
        made = System.of(
            base_model=base_model, base_revision="1", adapter_id=adapter, program="standard", program_hash="p",
            snapshot_id="snapshot", embedder="e", k=1, generation=GenerationParams(),
        )  # fmt: skip
        return registry.save_system(self.db, made)

    def build(self) -> None:
        """Rows and objects; what is named `gone-` is what nothing refers to."""
        self.folder.mkdir()
        (self.folder / "weights.bin").write_bytes(b"12345")
        with self.db.session() as session:
            session.add(SnapshotRow(id="snapshot", project="shop", record={}))
            session.flush()
            for number, (id_, teacher) in enumerate(
                [("gone-set", "m+gone-teacher"), ("dataset-won", "m+teacher"), ("newest", "m")]
            ):
                at = NOW - timedelta(days=9 - number)
                session.add(DatasetRow(id=id_, snapshot_id="snapshot", created_at=at, record={"recipe": {"teacher": teacher}}))
                self.store.put(f"data-cards/{id_}.html", b"card")
            for id_, dataset in [
                ("won", "dataset-won"), ("held", "dataset-won"), ("teacher", "lessons"), ("gone-teacher", "old-lessons"),
                ("gone-adapter", "gone-set"),
            ]:  # fmt: skip
                self.adapter(session, id_, dataset)
            for number, (id_, drifted) in enumerate([("gone-quiet", False), ("loud", True), ("told", False), ("last", False)]):
                at = NOW - timedelta(days=9 - number)
                row = {"drifted": drifted, "p_value": 0.5, "record": sample_drift().model_dump(mode="json"), "created_at": at}
                session.add(DriftReportRow(id=id_, project="shop", **row))
                self.store.put(f"drift/{id_}.html", b"page")
            session.add(MonitorReportRow(id="look", project="shop", record={"drift_id": "told", "events": ["e"]}))
            session.add(MonitorReportRow(id="calm", project="shop", record={"drift_id": "gone-quiet", "events": []}))
            for key, days in (("old", 31), ("young", 29)):
                session.add(TaskResultRow(key=key, content=b"x" * 100, written_at=datetime.now(UTC) - timedelta(days=days)))
        self.store.publish("checkpoints/won/gone-worker/00000015", self.folder, {})
        self.store.publish("adapters/won/gone-worker", self.folder, {})
        self.store.put("decisions/decision-1.html", b"decision")
        self.store.publish("adapters/of-another-database/job.1", self.folder, {})
        self.decide()

    def decide(self) -> None:
        """The champion is `won`; `held` lost against it."""
        base, won, held = self.system(None), self.system("won"), self.system("held")
        registry.bootstrap_champion(self.db, "shop", base)
        with hold(self.db, "cycle of shop") as lease:
            registry.promote(self.db, self.judge(base, won, Verdict.PROMOTE), base, won, lease)
        self.judge(won, held, Verdict.HOLD)

    def judge(self, champion: System, challenger: System, verdict: Verdict) -> PromotionDecision:
        """A decision on two Systems."""
        evalset = sample_eval_set()
        reports = [sample_eval_report(one, evalset, [True] * len(evalset.items)) for one in (champion, challenger)]
        evidence = sample_evidence(evalset, *reports).model_copy(update={"project": "shop"})
        return registry.save_decision(self.db, sample_decision(verdict, evidence))

    def age(self, by: timedelta = timedelta(days=8)) -> None:
        """Makes all files of a local store older."""
        assert isinstance(self.store, LocalStore)
        at = (datetime.now(UTC) - by).timestamp()
        for path in self.store.root.rglob("*"):
            os.utime(path, (at, at))

    def keys(self) -> set[str]:
        """What is in the store."""
        return {item.key for item in items(self.store.objects())}


@pytest.fixture
def world(own: Database, tmp_path: Path) -> World:
    made = World(own, LocalStore(tmp_path / "store"), tmp_path / "made")
    made.build()
    made.age()
    return made


GOES = {
    "data-cards/gone-set.html", "adapters/gone-teacher/job.1", "adapters/gone-adapter/job.1", "adapters/won/gone-worker",
    "checkpoints/won/gone-worker/00000015", "drift/gone-quiet.html",
}  # fmt: skip


def keys_of(made: Collection) -> set[str]:
    return {one.key for one in made.collected}


def test_what_nothing_refers_to_goes_once(world: World) -> None:
    before = world.keys()
    made = collect(world.db, world.store, WEEK, dry_run=False)
    assert keys_of(made) == GOES
    assert world.keys() == before - GOES
    assert (made.unknown, made.results, made.result_bytes) == (1, 1, 100)
    for id_ in ("won", "held", "teacher"):
        assert (registry.adapter_folder(world.db, world.store, id_) / "weights.bin").read_bytes() == b"12345"
    with world.db.session() as session:
        assert session.scalars(sa.select(TaskResultRow.key)).all() == ["young"]
    again = collect(world.db, world.store, WEEK, dry_run=False)
    assert (again.collected, again.results) == ((), 0)


def test_the_same_in_s3(own: Database, tmp_path: Path, client: Any, request: pytest.FixtureRequest) -> None:
    store = empty_s3(client, request.node.nodeid, tmp_path / "cache")
    world = World(own, store, tmp_path / "made")
    world.build()
    at_once = timedelta(seconds=-5)  # S3 says itself how old an object is
    made = collect(own, store, at_once, dry_run=False)
    assert keys_of(made) == GOES
    assert not any(key.startswith(tuple(GOES)) for key in bucket_keys(client, store))
    assert (registry.adapter_folder(own, store, "won") / "weights.bin").is_file()
    assert collect(own, store, at_once, dry_run=False).collected == ()


def test_a_dry_run_says_the_same_and_removes_nothing(world: World) -> None:
    before = world.keys()
    with hold(world.db, "cycle of shop"):
        dry = collect(world.db, world.store, WEEK, dry_run=True)
    assert world.keys() == before
    assert collect(world.db, world.store, WEEK, dry_run=False) == dry


def test_nothing_goes_while_a_cycle_runs(world: World) -> None:
    before = world.keys()
    with hold(world.db, "cycle of shop"), pytest.raises(CycleRunning, match="cycle of shop is already running"):
        collect(world.db, world.store, WEEK, dry_run=False)
    assert world.keys() == before


def test_what_is_young_stays(world: World) -> None:
    world.age(timedelta(days=6))
    assert collect(world.db, world.store, WEEK, dry_run=False).collected == ()


def test_what_a_job_of_the_gpu_pool_starts_from_stays(world: World) -> None:
    jobs.enqueue(world.db, "next", "train", {"project": "shop", "dataset_id": "gone-set"})
    made = keys_of(collect(world.db, world.store, WEEK, dry_run=True))
    assert "adapters/gone-adapter/job.1" not in made
    assert "data-cards/gone-set.html" not in made
    with world.db.session() as session:
        session.execute(sa.text("UPDATE jobs SET created_at = now() - interval '8 days'"))
    assert keys_of(collect(world.db, world.store, WEEK, dry_run=True)) == GOES


def test_the_dataset_of_a_custom_model_that_was_decided_on_stays(world: World) -> None:
    arn = "arn:aws:bedrock:eu-west-1:1:custom-model/m/1"
    with world.db.session() as session:
        session.add(CustomModelRow(id="m", arn=arn, dataset_id="gone-set", record={}))
    world.judge(world.system("held"), world.system(None, f"bedrock/{arn}"), Verdict.HOLD)
    left = GOES - keys_of(collect(world.db, world.store, WEEK, dry_run=True))
    assert left == {"data-cards/gone-set.html", "adapters/gone-teacher/job.1"}


def test_the_page_of_a_check_that_a_decided_cycle_had_stays(world: World) -> None:
    with world.db.session() as session:
        told = {"project": "shop", "trigger": "manual", "scheduled_at": NOW, "state": "completed", "reason": ""}
        session.add(CycleRow(id="cycle-1", decision_id="decision-1", drift_id="gone-quiet", **told))
    assert keys_of(collect(world.db, world.store, WEEK, dry_run=True)) == GOES - {"drift/gone-quiet.html"}


def test_an_adapter_that_was_collected_is_told_by_its_name(world: World) -> None:
    collect(world.db, world.store, WEEK, dry_run=False)
    with pytest.raises(StorageError, match=r"gone-adapter was trained .*`csift gc` collects .*; run the cycle again"):
        registry.adapter_folder(world.db, world.store, "gone-adapter")
    with world.db.session() as session:
        world.adapter(session, "gone-adapter", "gone-set")  # as a cycle does that needs it again
    assert registry.adapter_folder(world.db, world.store, "gone-adapter").is_dir()


def test_a_collection_that_was_killed_is_finished_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: LocalStore, key: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalStore, "discard", killed)
        collect(world.db, world.store, WEEK, dry_run=False)
    assert not world.store.has_artifact("adapters/gone-adapter/job.1")
    collect(world.db, world.store, WEEK, dry_run=False)
    assert not world.keys() & GOES


def test_what_is_printed_names_each_thing_its_size_and_why(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    print_collection(collect(world.db, world.store, WEEK, dry_run=True), True, make_console())
    told = capsys.readouterr().out
    assert "An adapter that no champion and no decision refers to (2, " in told
    assert all(key in told for key in GOES)
    assert "Would remove 6 things" in told
    assert "Would remove 1 task result older than 30 days, 100 B." in told
    assert "Left alone: 1 thing" in told
