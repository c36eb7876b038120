"""Stages that accelerate launches in two processes: the same losses as in one, and nothing left running."""

import dataclasses
import signal
from pathlib import Path

import psutil
import pytest

from csift.config import TrainingConfig
from csift.exceptions import TrainingError
from csift.models import BaseModel
from csift.schemas import Method
from csift.storage import LocalStore
from csift.training import PreferenceRow, Run, TrainingData, TrainingRow, train

pytestmark = pytest.mark.slow

TWO = Path(__file__).parents[2] / "deployments" / "accelerate" / "cpu-2.yaml"
CHATS = [[{"role": "user", "content": f"How heavy is pump number {n} of the catalogue?{' Please.' * (n % 3)}"}] for n in range(8)]
DATA = TrainingData(
    pairs=[TrainingRow(chat, f"{n} kg", f"example-{n}") for n, chat in enumerate(CHATS)],
    preferences=[PreferenceRow(chat, f"{n} kg", f"{n + 7} litres of oil", f"pair-{n}") for n, chat in enumerate(CHATS)],
)
ALONE = TrainingConfig(max_steps=4, batch_size=4, checkpoint_every=2, learning_rate=1e-2, preference_rate=1e-3)
TOGETHER = ALONE.model_copy(update={"launcher": "accelerate", "accelerate": TWO})


class Trained:
    """A run and what it told; stopped when `stop_after` steps are done."""

    def __init__(self, folder: Path, base: BaseModel) -> None:
        self.store = LocalStore(folder / "artifacts")
        self.base, self.folder = base, folder
        self.losses: dict[int, float] = {}
        self.notes: list[str] = []

    def run(self, config: TrainingConfig, stop_after: int | None = None, data: TrainingData = DATA) -> dict[str, float]:
        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            self.notes.append(note)
            if done == stop_after:
                raise KeyboardInterrupt

        run = Run(self.base, data, "dataset-x", config, self.store, self.folder / "scratch", 2, progress=progress)
        told = dataclasses.replace(run, on_loss=lambda _, point: self.losses.update({point.step: point.loss}))
        return train(told).metrics


def launched() -> list[psutil.Process]:
    """Whatever accelerate started and still runs."""
    return [p for p in psutil.Process().children(recursive=True) if "csift.training.launching" in " ".join(p.cmdline())]


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo"])
def test_two_processes_have_the_losses_of_one(tmp_path: Path, tiny_model: BaseModel, method: Method) -> None:
    one, two = Trained(tmp_path / "one", tiny_model), Trained(tmp_path / "two", tiny_model)
    alone = one.run(ALONE.model_copy(update={"methods": (method,)}))
    together = two.run(TOGETHER.model_copy(update={"methods": (method,)}))

    assert two.losses == pytest.approx(one.losses, rel=0.003, abs=0.003)
    assert len(set(one.losses.values())) == 4
    assert together["steps"] == alone["steps"] == 4
    assert launched() == []


def test_stopped_it_leaves_no_process_and_goes_on_from_the_checkpoint(tmp_path: Path, tiny_model: BaseModel) -> None:
    whole, two = Trained(tmp_path / "whole", tiny_model), Trained(tmp_path / "two", tiny_model)
    whole.run(TOGETHER)
    with pytest.raises(KeyboardInterrupt):
        two.run(TOGETHER, stop_after=3)
    assert launched() == []
    two.losses.clear()

    two.run(TOGETHER)

    assert two.losses == pytest.approx({step: whole.losses[step] for step in (3, 4)}, abs=1e-4)


def test_a_process_that_is_killed_fails_the_training_with_one_line(tmp_path: Path, tiny_model: BaseModel) -> None:
    trained = Trained(tmp_path, tiny_model)

    def kill(stage: str, done: int, total: int, note: str = "") -> None:
        if done == 2:
            ranks = [p for p in launched() if p.environ().get("RANK") == "1"]
            ranks[0].send_signal(signal.SIGKILL)

    run = Run(
        tiny_model, DATA, "d", TOGETHER.model_copy(update={"max_steps": 500}), trained.store, tmp_path / "s", 2, progress=kill
    )
    with pytest.raises(TrainingError, match=r"ended without a result: a process was killed, \(exitcode: -9\)"):
        train(run)
    assert launched() == []


def test_an_error_of_a_launched_process_arrives_as_it_is(tmp_path: Path, tiny_model: BaseModel) -> None:
    long = TrainingData(pairs=[TrainingRow(CHATS[0], "pump " * 300, "example-9")] * 4)
    with pytest.raises(TrainingError, match=r"answer of training example example-9 .* training.max_length = 64"):
        Trained(tmp_path, tiny_model).run(TOGETHER.model_copy(update={"max_length": 64}), data=long)


def test_rows_that_the_processes_cannot_share_are_refused(tmp_path: Path, tiny_model: BaseModel) -> None:
    with pytest.raises(TrainingError, match=r"3 rows at once cannot be shared evenly by 2 processes"):
        Trained(tmp_path, tiny_model).run(TOGETHER.model_copy(update={"batch_size": 3}))


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path, tiny_model: BaseModel) -> None:
    missing = TOGETHER.model_copy(update={"accelerate": tmp_path / "none.yaml"})
    with pytest.raises(TrainingError, match=r"none.yaml is no file on this machine"):
        Trained(tmp_path, tiny_model).run(missing)
