"""kill -9 in the middle of every kind of training stage: the next process goes on, and the end is that of a run never killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csift.models import BaseModel

pytestmark = pytest.mark.slow

STAGES = ("cpt", "sft", "orpo", "dpo", "kto", "reward", "ppo", "grpo", "rloo")
STEPS, EVERY = 4, 2
# Trains all stages and tells of each step; adapters that are done are known to the next process by a file.
TRAIN = """
import json, sys
from pathlib import Path
from csift.config import TrainingConfig
from csift.models import BaseModel
from csift.schemas import Adapter
from csift.storage import LocalStore
from csift.training import PreferenceRow, PromptRow, Run, TextRow, TrainingData, TrainingRow, train, unpaired

model, revision, folder, stages, steps, every = sys.argv[1:]
folder = Path(folder)

class Kept:
    def find(self, id_):
        path = folder / f"{id_}.json"
        return Adapter.model_validate_json(path.read_text()) if path.exists() else None

    def add(self, adapter):
        (folder / f"{adapter.id}.json").write_text(adapter.model_dump_json())

def chat(n):
    return [{"role": "user", "content": f"How heavy is pump number {n} of the catalogue?"}]

preferences = [PreferenceRow(chat(n), f"{n} kg", f"{n + 7} litres of oil", f"pair-{n}") for n in range(6)]
pairs = [TrainingRow(chat(n), f"{n} kg", f"example-{n}") for n in range(6)]
data = TrainingData(
    texts=[TextRow(f"Pump number {n} weighs {n} kg. It is blue. " * 20, str(n)) for n in range(9)],
    pairs=pairs, preferences=preferences, ratings=unpaired(preferences),
    prompts=[PromptRow(row.prompt, row.completion, row.id) for row in pairs],
)
config = TrainingConfig(
    methods=tuple(stages.split(",")), max_steps=int(steps), checkpoint_every=int(every), batch_size=4, samples=2,
    answer_tokens=6, max_length=128, learning_rate=1e-2, preference_rate=1e-2, online_rate=1e-2,
)
base = BaseModel("tiny", Path(model), revision)
store = LocalStore(folder / "artifacts")
adapter = train(Run(
    base, data, "d", config, store, folder / "scratch", 2, Kept(), "me",
    on_loss=lambda id_, point: print("step", id_, point.step, point.loss, flush=True),
))
print("end", json.dumps([store.manifest(adapter.artifact)["files"], adapter.metrics]), flush=True)
"""


class Trainer:
    """A process that trains all stages in a folder; `told` is what it told of its steps: (adapter's id, step, loss)."""

    def __init__(self, base: BaseModel, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        told = [str(base.path), base.revision, str(folder), ",".join(STAGES), str(STEPS), str(EVERY)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAIN, *told], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.told: list[tuple[str, int, float]] = []

    def until(self, adapter_id: str, step: int) -> None:
        """Killed with -9 as soon as it has told of this step."""
        for line in self.process.stdout or ():
            self.hear(line)
            if self.told and self.told[-1][:2] == (adapter_id, step):
                self.process.kill()
                break
        _, errors = self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, errors[-2000:]

    def to_the_end(self) -> Any:
        """What it ends with: the adapter's files and metrics."""
        output, errors = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, errors[-2000:]
        lines = output.splitlines()
        for line in lines:
            self.hear(line)
        return json.loads(lines[-1].removeprefix("end "))

    def hear(self, line: str) -> None:
        """Keeps a line that tells of a step."""
        if line.startswith("step "):
            _, adapter_id, step, loss = line.split()
            self.told.append((adapter_id, int(step), float(loss)))


def test_killed_in_every_stage_the_end_is_that_of_a_run_that_never_was(tmp_path: Path, tiny_model: BaseModel) -> None:
    whole = Trainer(tiny_model, tmp_path / "whole")
    expected = whole.to_the_end()
    curves = {id_: [entry for entry in whole.told if entry[0] == id_] for id_, *_ in whole.told}
    assert [[step for _, step, _ in curve] for curve in curves.values()] == [[1, 2, 3, 4]] * len(STAGES)

    left: list[tuple[str, int, float]] = []  # of the stage in which the process before was killed, from its only checkpoint on
    for id_, curve in curves.items():
        killed = Trainer(tiny_model, tmp_path / "killed")
        killed.until(id_, 3)
        assert killed.told == [*left, *curve[:3]]
        left = curve[2:]
    last = Trainer(tiny_model, tmp_path / "killed")

    assert last.to_the_end() == expected
    assert last.told == left
