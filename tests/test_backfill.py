"""Backfills without Prefect: windows, partitions and their ids, what is stored once."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from months import MONTHS
from pydantic import ValidationError
from rich.console import Console
from scribes import Scribe, booked, partition_of, plan_with, teaching
from stores import serving_s3

from csift import backfill
from csift.backfill import BackfillRequest
from csift.backfill.windows import date_in, window_of
from csift.config import CorpusConfig, LoopConfig, SourceConfig
from csift.corpus import changed_on
from csift.db import Database
from csift.exceptions import ConfigError, CorpusError, GateError, TeacherError
from csift.leases import Lease, hold
from csift.reports import console
from csift.reports.backfill import print_partitions
from csift.schemas import (
    BackfillPlan,
    Chunk,
    Chunking,
    CorpusSnapshot,
    DocumentRef,
    Source,
)
from csift.schemas.base import Every

GOLDEN = Path(__file__).parent / "golden"
EVERY: tuple[Every, ...] = ("day", "week", "month", "quarter", "year")
DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))
YEAR = BackfillRequest.model_validate({"since": "2024-01-01", "until": "2024-12-31"})


# --- windows and dates -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(DAYS, st.sampled_from(EVERY))
def test_every_day_lies_in_exactly_one_window(day: date, every: Every) -> None:
    window = window_of(day, every)
    assert window.first <= day <= window.last
    assert window_of(window.first, every) == window_of(window.last, every) == window
    following = window_of(window.last + timedelta(days=1), every)
    assert following.first == window.last + timedelta(days=1)
    assert following.name > window.name  # partitions are taught in order of their names


@pytest.mark.parametrize(
    ("every", "name", "first", "last"),
    [
        ("day", "2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
        ("week", "2024-W09", date(2024, 2, 26), date(2024, 3, 3)),
        ("month", "2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("quarter", "2024-Q1", date(2024, 1, 1), date(2024, 3, 31)),
        ("year", "2024", date(2024, 1, 1), date(2024, 12, 31)),
    ],
)
def test_windows_are_named_by_the_calendar(every: Every, name: str, first: date, last: date) -> None:
    window = window_of(date(2024, 2, 29), every)
    assert (window.name, window.first, window.last) == (name, first, last)


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("2024-03/report.md", date(2024, 3, 1)),
        ("news/2024-03-17-launch.md", date(2024, 3, 17)),
        ("2024/03/17/launch.md", date(2024, 3, 17)),
        ("2024/03/1-intro.md", date(2024, 3, 1)),
        ("minutes_2024_03_17.txt", date(2024, 3, 17)),
        ("2024-03/of-2024-04-02.md", date(2024, 4, 2)),  # a day goes before a month
        ("2024-03/2023-12/x.md", date(2024, 3, 1)),
        ("2024-02-30.md", date(2024, 2, 1)),  # no such day: the month counts
        ("rows.jsonl#2024-03-17-004", date(2024, 3, 17)),
        ("2024-13/x.md", None),
        ("KT-12024-03.md", None),
        ("2024-03-175.md", date(2024, 3, 1)),
        ("20240317.md", None),
        ("2024.md", None),
    ],
)
def test_a_documents_date_is_read_in_its_path(path: str, day: date | None) -> None:
    assert date_in(path) == day


def test_a_document_without_a_date_in_its_path_has_that_of_its_file(tmp_path: Path) -> None:
    for name, moment in (("a.md", 1_700_000_000), ("rows.jsonl", 1_600_000_000)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (moment, moment))
    files, cuad = (SourceConfig(location=str(tmp_path), name=kind, format=kind) for kind in ("files", "cuad"))
    documents = ["files/a.md", "files/rows.jsonl#7", "cuad/a.md", "files/gone.md"]
    assert changed_on(CorpusConfig(sources=(files, cuad)), documents) == {
        "files/a.md": date(2023, 11, 14),
        "files/rows.jsonl#7": date(2020, 9, 13),
    }


def test_an_objects_date_is_that_of_its_last_change() -> None:
    with serving_s3() as client:
        client.create_bucket(Bucket="news", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        client.put_object(Bucket="news", Key="docs/a.md", Body=b"x")
        found = changed_on(CorpusConfig(sources=(SourceConfig(location="s3://news/docs"),)), ["a.md"], client)
        modified = client.head_object(Bucket="news", Key="docs/a.md")["LastModified"]
    assert found == {"a.md": modified.date()}


# --- partitions ------------------------------------------------------------------------------------------------------------

CONFIG = LoopConfig.model_validate(
    {
        "project": "news",
        "corpus": {"sources": [{"location": "docs"}]},
        "teacher": {"model": "openai/gpt-4o-mini"},
        "drift": {"reference": "traffic.jsonl", "current": "traffic.jsonl"},
    }
)


def planned(
    documents: Mapping[str, str],
    request: BackfillRequest = YEAR,
    config: LoopConfig = CONFIG,
    barred: Sequence[str] = (),
    changed: Mapping[str, date] | None = None,
) -> BackfillPlan:
    """The plan over documents, id → text; those of `barred` may not be trained on. A source goes before a colon."""
    refs = tuple(
        DocumentRef(document_id=id_, sha256=text, source=id_.partition(":")[0] if ":" in id_ else "")
        for id_, text in documents.items()
    )
    sources = tuple(Source(name=name, location="x", licence="x", may_train=True) for name in sorted({ref.source for ref in refs}))
    snapshot = CorpusSnapshot.of(config.project, refs, Chunking(size=450, overlap=60), sources)
    chunks = [
        Chunk(id=f"{id_} {text}", document_id=id_, ordinal=0, text=text) for id_, text in documents.items() if id_ not in barred
    ]
    return backfill.divide(config, request, snapshot, chunks, changed or {})


def ids(plan: BackfillPlan) -> dict[str, str]:
    return {partition.name: partition.id for partition in plan.partitions}


def told(config: LoopConfig, section: str, **changes: object) -> LoopConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


DOCUMENTS = {f"{month}/a.md": f"text of {month}" for month in MONTHS}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.dates(date(2023, 1, 1), date(2025, 12, 31)) | st.none(), st.booleans()), min_size=1, max_size=30),
    st.sampled_from(EVERY),
)
def test_every_document_of_the_range_is_in_one_partition_or_named(
    documents: list[tuple[date | None, bool]], every: Every
) -> None:
    names = {f"{n}-{day or 'never'}.md": (day, allowed) for n, (day, allowed) in enumerate(documents)}
    inside = {name for name, (day, _) in names.items() if day and day.year == 2024}
    taught = {name for name in inside if names[name][1]}
    request = YEAR.model_copy(update={"every": every})
    if not taught:
        with pytest.raises(CorpusError):
            planned(dict.fromkeys(names, "x"), request, barred=[name for name in names if not names[name][1]])
        return
    plan = planned(dict.fromkeys(names, "x"), request, barred=[name for name in names if not names[name][1]])
    placed = [ref.document_id for partition in plan.partitions for ref in partition.documents]
    assert sorted(placed) == sorted(taught)
    assert set(plan.undated) == {name for name, (day, _) in names.items() if day is None}
    assert plan.outside == sum(day is not None and day.year != 2024 for day, _ in names.values())
    windows = {window_of(names[name][0] or date.max, every).name for name in inside}
    assert {partition.name for partition in plan.partitions} | set(plan.idle) == windows
    assert [partition.name for partition in plan.partitions] == sorted(partition.name for partition in plan.partitions)


def test_a_changed_document_makes_another_partition_of_its_window_only() -> None:
    before = ids(planned(DOCUMENTS))
    after = ids(planned({**DOCUMENTS, "2024-05/a.md": "new text"}))
    more = ids(planned({**DOCUMENTS, "2024-07/b.md": "another"}))
    assert [name for name in before if before[name] != after[name]] == ["2024-05"]
    assert [name for name in before if before[name] != more[name]] == ["2024-07"]


def test_the_same_documents_are_the_same_partitions_in_whatever_order_and_range() -> None:
    before = planned(DOCUMENTS)
    assert planned(dict(reversed(DOCUMENTS.items()))) == before
    spring = BackfillRequest.model_validate({"since": "2024-03-01", "until": "2024-05-15", "promote": True, "parallel": 2})
    assert ids(planned(DOCUMENTS, spring)) == {name: ids(before)[name] for name in ("2024-03", "2024-04", "2024-05")}


@pytest.mark.parametrize(
    ("section", "changes", "same"),
    [
        ("teacher", {"model": "openai/other"}, False),
        ("teacher", {"temperature": 0.1}, False),
        ("teacher", {"concurrency": 1}, True),
        ("synthesis", {"candidates": 9}, False),
        ("synthesis", {"seed": 1}, False),
        ("synthesis", {"preferences": 9}, True),
        ("dataset", {"near_duplicate": 0.5}, False),
        ("dataset", {"replay": 0.5}, True),
        ("training", {"max_steps": 9}, True),
        ("gate", {"promote": True}, True),
        ("budget", {"usd": 1.0}, True),
    ],
)
def test_a_partition_depends_on_what_synthesis_is_told_and_on_nothing_else(
    section: str, changes: dict[str, object], same: bool
) -> None:
    before, after = ids(planned(DOCUMENTS)), ids(planned(DOCUMENTS, config=told(CONFIG, section, **changes)))
    assert {before[name] == after[name] for name in before} == {same}


def test_without_days_each_source_is_a_partition() -> None:
    plan = planned(
        {"law:2024-01/a.md": "x", "law:b.md": "y", "c.md": "z", "law:held.md": "e"}, BackfillRequest(), barred=["law:held.md"]
    )
    assert [(part.name, len(part.documents), part.others) for part in plan.partitions] == [("all", 1, 0), ("law", 2, 1)]
    assert (plan.undated, plan.outside) == ((), 0)


def test_the_day_of_its_last_change_places_what_has_no_date_in_its_path() -> None:
    documents = {"a.md": "x", "b.md": "y", "2024-01/c.md": "z"}
    plan = planned(documents, changed={"a.md": date(2024, 6, 9), "2024-01/c.md": date(2030, 1, 1)})
    assert [(part.name, part.documents[0].document_id) for part in plan.partitions] == [
        ("2024-01", "2024-01/c.md"),
        ("2024-06", "a.md"),
    ]
    assert plan.undated == ("b.md",)


@pytest.mark.parametrize(
    ("documents", "barred", "words"),
    [
        ({"2021-05/a.md": "x", "2019-01/b.md": "y"}, (), "those of the corpus are dated 2019-01-01 to 2021-05-01"),
        ({"a.md": "x"}, (), "1 have no date, such as a.md; put one into their paths"),
        ({"2024-05/a.md": "x"}, ("2024-05/a.md",), "none of the 1 documents from 2024-01-01 to 2024-12-31 may be trained on"),
    ],
)  # fmt: skip
def test_a_range_with_nothing_to_teach_is_refused(documents: dict[str, str], barred: tuple[str, ...], words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        planned(documents, barred=barred)


def test_a_local_teacher_takes_one_partition_after_another() -> None:
    assert planned(DOCUMENTS).at_once == 4
    assert planned(DOCUMENTS, config=told(CONFIG, "teacher", model="smollm2-135m-instruct")).at_once == 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"since": "2024-05-01", "until": "2024-04-30"}, "it is before since, 2024-05-01; swap them"),
        ({"since": "yesterday"}, "it is no day; write one as 2024-03-17"),
        ({"until": "2024-02-30"}, "it is no day"),
        ({"parallel": 17}, "less than or equal to 16"),
        ({"every": "hour"}, "'day', 'week', 'month', 'quarter' or 'year'"),
    ],
)
def test_bad_requests_are_refused(request_: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BackfillRequest.model_validate(request_)


def test_another_corpus_takes_the_place_of_one_source_only() -> None:
    asked = BackfillRequest(corpus="s3://b/next", promote=True)
    moved = backfill.over(CONFIG, asked)
    assert moved.corpus.sources[0] == CONFIG.corpus.sources[0].model_copy(update={"location": "s3://b/next"})
    assert (moved.gate.promote, backfill.over(CONFIG, BackfillRequest()).gate.promote) == (True, False)
    two = told(CONFIG, "corpus", sources=(*CONFIG.corpus.sources, SourceConfig(location="/more", name="more")))
    with pytest.raises(ConfigError, match=r"corpus replaces one source and corpus\.sources has 2"):
        backfill.over(two, asked)
    assert backfill.over(two, BackfillRequest()).corpus == two.corpus


# --- what is taught is stored once and whole -------------------------------------------------------------------------------


@pytest.fixture
def lease(db: Database, project: str) -> Iterator[Lease]:
    with hold(db, f"cycle of {project}") as held:
        yield held


def test_a_partition_is_taught_once(db: Database, project: str, lease: Lease) -> None:
    first, second = partition_of(project), partition_of(project, "2024-02")
    scribe = Scribe()
    made = teaching(db, project, lease, first, scribe)
    assert (made.candidates, made.accepted, len(made.rejections), scribe.written) == (3, 3, 3, 3)
    assert teaching(db, project, lease, first, Scribe(fails_after=0)) == made  # nobody is asked
    teaching(db, project, lease, second, Scribe())

    both = backfill.taught(db, plan_with(second, first))
    assert [example.document_id for example in both.examples] == [f"2024-0{m}/{n}.md" for m in (2, 1) for n in range(3)]
    assert (both.teacher, both.candidates, len(both.rejections)) == ("scribe", 6, 6)


def test_of_a_partition_that_fails_nothing_is_stored(db: Database, project: str, lease: Lease) -> None:
    partition = partition_of(project)
    with pytest.raises(TeacherError):
        teaching(db, project, lease, partition, Scribe(fails_after=2))
    (state,) = backfill.states(db, plan_with(partition))
    assert (state.state, state.accepted) == ("new", 0)
    assert teaching(db, project, lease, partition, Scribe()).accepted == 3


def test_a_run_that_lost_its_lease_stores_nothing(db: Database, project: str) -> None:
    with hold(db, f"cycle of {project}") as old:
        pass
    with hold(db, f"cycle of {project}"), pytest.raises(GateError, match="passed to another run"):
        teaching(db, project, old, partition_of(project), Scribe())
    (state,) = backfill.states(db, plan_with(partition_of(project)))
    assert state.state == "new"


def test_how_far_partitions_are(db: Database, project: str, lease: Lease) -> None:
    done, begun, new = (partition_of(project, name) for name in ("2024-01", "2024-02", "2024-03"))
    teaching(db, project, lease, done, Scribe())
    booked(db, project, begun.id, 5)
    states = backfill.states(db, plan_with(done, begun, new))
    assert [(state.name, state.state, state.calls, state.accepted) for state in states] == [
        ("2024-01", "done", 0, 3),
        ("2024-02", "partly", 5, 0),
        ("2024-03", "new", 0, 0),
    ]
    out = io.StringIO()
    print_partitions(states, plan_with(done, begun, new), Console(file=out, width=80, theme=console._THEME))
    assert "3 partitions: 1 done, 1 partly, 1 new" in out.getvalue()
