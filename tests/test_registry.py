"""What is stored and what is champion: the pointer moves once, by compare-and-swap, and back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from projects import Project, open_project
from samples import sample_drift, sample_eval_report, sample_eval_set, sample_items

from csift.dataset import save
from csift.db import Database
from csift.db.judging import EvalReportRow, EvalSetRow
from csift.exceptions import GateError
from csift.leases import Lease, hold
from csift.registry import (
    bootstrap_champion,
    champion,
    champion_log,
    find,
    history,
    load,
    load_losses,
    promote,
    rollback,
    save_adapter,
    save_decision,
    save_drift,
    save_loss,
    won_before,
)
from csift.schemas import (
    Adapter,
    DatasetVersion,
    DriftReport,
    EvalSetHistory,
    Example,
    LossPoint,
    SynthesisReport,
    System,
    Verdict,
)


@pytest.fixture
def made(db: Database, project: str, tmp_path: Path) -> Iterator[Project]:
    """A project whose lease is held."""
    with open_project(db, project, tmp_path) as opened:
        yield opened


# --- the champion ---------------------------------------------------------------------------------------------------------


def test_the_first_champion_is_made_once(made: Project) -> None:
    assert made.champion_k() is None
    assert bootstrap_champion(made.db, made.name, made.system(1)).k == 1
    assert bootstrap_champion(made.db, made.name, made.system(2)).k == 1
    assert (made.champion_k(), made.log()) == (1, [("bootstrap", 1)])


def test_a_promotion_moves_the_pointer_and_is_logged(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    decision = made.decision(base, made.system(2))
    move = promote(made.db, decision, base, made.system(2), made.lease)
    assert move is not None
    assert (move.version, move.kind, move.decision_id) == (2, "promotion", decision.id)
    assert (move.from_system_id, move.to_system_id) == (base.id, made.system(2).id)
    assert champion_log(made.db, made.name)[0] == move
    assert made.champion_k() == 2


def test_promoting_again_after_a_kill_is_no_second_move(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    assert made.promote(base, made.system(2)) == 2
    assert made.promote(base, made.system(2)) is None
    assert made.log() == [("bootstrap", 1), ("promotion", 2)]


def test_a_champion_that_changed_meanwhile_is_not_overwritten(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    made.promote(base, made.system(2))
    with pytest.raises(GateError, match=rf"the champion of {made.name} became {made.system(2).id} meanwhile; nothing was moved"):
        made.promote(base, made.system(3))
    assert (made.champion_k(), made.log()) == (2, [("bootstrap", 1), ("promotion", 2)])


@pytest.mark.parametrize("verdict", [Verdict.HOLD, Verdict.REJECT])
def test_only_a_promote_verdict_moves_the_champion(verdict: Verdict, made: Project) -> None:
    base, challenger = bootstrap_champion(made.db, made.name, made.system(1)), made.system(2)
    with pytest.raises(GateError, match="only a PROMOTE verdict moves the champion"):
        promote(made.db, made.decision(base, challenger, verdict), base, challenger, made.lease)
    assert made.champion_k() == 1


def test_the_history_of_an_eval_set_counts_its_conclusive_decisions_once(made: Project) -> None:
    one, two, three = (made.system(k) for k in (1, 2, 3))
    for verdict, challenger in ((Verdict.HOLD, two), (Verdict.HOLD, two), (Verdict.HOLD, three), (Verdict.PROMOTE, two)):
        made.decision(one, challenger, verdict)
    lost = made.decision(one, three, Verdict.REJECT)
    save_decision(made.db, lost.model_copy(update={"id": "decision-vague", "conclusive": False}))
    later = lost.history.model_copy(update={"life": 2})
    save_decision(made.db, lost.model_copy(update={"id": "decision-later", "history": later}))
    assert history(made.db, made.name, 1) == EvalSetHistory(life=1, held=2, rejected=1, promoted=1)
    assert history(made.db, made.name, 2) == EvalSetHistory(life=2, held=0, rejected=1, promoted=0)
    assert history(made.db, "another", 1).decisions == 0


def test_what_earlier_champions_won_is_known(made: Project) -> None:
    evalset = sample_eval_set(sample_items())
    first, second = made.system(1), made.system(2)
    bootstrap_champion(made.db, made.name, first)
    right = [True, False] * (len(evalset.items) // 2)
    for system in (first, second):
        report = sample_eval_report(system, evalset, right if system is first else [True] * len(right))
        with made.db.session() as session:
            row = EvalReportRow(
                id=report.id, record=report.model_dump(mode="json"), system_id=system.id, evalset_id=evalset.id, judge_id="j",
                accuracy=0.5, low=0.4, high=0.6, failures=0,
            )  # fmt: skip
            session.merge(EvalSetRow(id=evalset.id, project=made.name, record=evalset.model_dump(mode="json")))
            session.flush()
            session.add(row)
    assert won_before(made.db, made.name) == frozenset()  # the present champion's own wins are not an earlier one's
    made.promote(first, second)
    assert won_before(made.db, made.name) == {item.id for item, won in zip(evalset.items, right, strict=True) if won}


def test_a_decision_promotes_only_the_system_it_is_about(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    with pytest.raises(GateError, match=f"does not promote {made.system(3).id}"):
        promote(made.db, made.decision(base, made.system(2)), base, made.system(3), made.lease)
    assert made.champion_k() == 1


def test_a_lost_lease_promotes_nothing(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    with pytest.raises(GateError, match="passed to another run"):
        made.promote(base, made.system(2), Lease(made.lease.name, made.lease.token - 1))
    assert (made.champion_k(), made.log()) == (1, [("bootstrap", 1)])


def test_a_project_without_a_champion_promotes_nothing(made: Project) -> None:
    with pytest.raises(GateError, match=f"project {made.name} has no champion yet; run a cycle first"):
        made.promote(made.system(1), made.system(2))


@pytest.mark.parametrize("turn", range(5))
def test_two_promotions_that_race_move_it_at_most_once(turn: int, made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    decisions = {k: made.decision(base, made.system(k)) for k in (2, 3)}
    systems = {k: made.system(k) for k in (2, 3)}
    ready = Barrier(2)

    def race(k: int) -> bool:
        # Each under a lease of its own: the swap alone must keep them apart.
        with hold(made.db, f"{made.name}-{turn}-{k}") as lease:
            ready.wait(20)
            try:
                return promote(made.db, decisions[k], base, systems[k], lease) is not None
            except GateError:
                return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(race, (2, 3))) == [False, True]
    assert [kind for kind, _ in made.log()] == ["bootstrap", "promotion"]
    assert made.log()[-1][1] == made.champion_k()


def test_first_champions_that_race_are_one(made: Project) -> None:
    ready = Barrier(4)
    systems = {k: made.system(k) for k in range(1, 5)}

    def race(k: int) -> str:
        ready.wait(20)
        return bootstrap_champion(made.db, made.name, systems[k]).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(race, systems))) == 1
    assert len(made.log()) == 1


# --- rollback -------------------------------------------------------------------------------------------------------------


def test_rollback_goes_back_promotion_by_promotion_and_the_log_keeps_all(made: Project) -> None:
    base = bootstrap_champion(made.db, made.name, made.system(1))
    made.promote(base, made.system(2))
    made.promote(made.system(2), made.system(3))
    assert (rollback(made.db, made.name).kind, made.champion_k()) == ("rollback", 2)
    made.promote(made.system(2), made.system(4))
    assert [rollback(made.db, made.name) and made.champion_k() for _ in range(2)] == [2, 1]
    with pytest.raises(GateError, match="no promotion to take back"):
        rollback(made.db, made.name)
    assert made.log() == [
        ("bootstrap", 1), ("promotion", 2), ("promotion", 3), ("rollback", 2), ("promotion", 4), ("rollback", 2), ("rollback", 1),
    ]  # fmt: skip
    assert [move.version for move in champion_log(made.db, made.name)] == [7, 6, 5, 4, 3, 2, 1]


def test_there_is_nothing_to_take_back_before_a_promotion(made: Project) -> None:
    with pytest.raises(GateError, match="no promotion to take back"):
        rollback(made.db, made.name)
    bootstrap_champion(made.db, made.name, made.system(1))
    with pytest.raises(GateError, match="no promotion to take back"):
        rollback(made.db, made.name)
    assert made.champion_k() == 1


def test_projects_have_champions_of_their_own(made: Project) -> None:
    bootstrap_champion(made.db, made.name, made.system(1))
    bootstrap_champion(made.db, made.name + "-b", made.system(2))
    made.promote(made.system(1), made.system(3))
    other = champion(made.db, made.name + "-b")
    assert other is not None
    assert (other.k, made.champion_k()) == (2, 3)


# --- records --------------------------------------------------------------------------------------------------------------


def test_records_are_read_as_they_were_written(made: Project) -> None:
    example = Example(
        id="e", question=f"{made.name}?", answer="a", document_id="a.md", style="factoid", gold_chunk_ids=(),
        context_chunk_ids=(), source="human", generator=None, prompt_hash=None,
    )  # fmt: skip
    report = SynthesisReport(teacher="t", candidates=0, accepted=0, rejected={}, samples=())
    dataset = save(
        made.db, [example], snapshot_id=made.snapshot_id, evalset_id="evalset-1", recipe={"k": 3}, synthesis=report, rejected=()
    )  # fmt: skip
    adapter = Adapter(
        id=f"adapter-{made.name}", base_model="m", base_revision="1", stages=("sft",), stage_ids=(f"adapter-{made.name}",),
        config_hash="c", dataset_id=dataset.id, metrics={"loss": 0.4}, artifact="adapters/a",
    )  # fmt: skip
    for _ in range(2):  # again is nothing
        with made.db.session() as session:
            save_adapter(session, adapter)
        drift = save_drift(made.db, made.name, sample_drift())
        system = made.system(3, adapter.id)
    assert load(made.db, DatasetVersion, dataset.id) == dataset
    assert load(made.db, Adapter, adapter.id) == adapter
    assert load(made.db, DriftReport, drift.id) == drift
    assert load(made.db, System, system.id) == system


def test_a_record_that_does_not_exist_is_none_or_an_error(db: Database) -> None:
    assert find(db, System, "system-none") is None
    with pytest.raises(GateError, match="there is no System system-none; see `csift status`"):
        load(db, System, "system-none")


def test_a_step_trained_again_replaces_its_loss(db: Database, project: str) -> None:
    def point(step: int, loss: float) -> LossPoint:
        return LossPoint(step=step, loss=loss, learning_rate=0.1, tokens=step)

    for step, loss in ((2, 0.5), (1, 0.9), (3, 0.4), (2, 0.6)):
        with db.session() as session:
            save_loss(session, project, point(step, loss))
    assert load_losses(db, project) == [point(1, 0.9), point(2, 0.6), point(3, 0.4)]
