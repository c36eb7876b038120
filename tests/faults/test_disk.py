"""A disk that fills up while an adapter is trained: one clear line, and no adapter that looks whole."""

import sys
from pathlib import Path

import pytest
from disks import private_disk, run

from csift.models import BaseModel

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from pathlib import Path
from csift.config import TrainingConfig
from csift.exceptions import StorageError
from csift.models import BaseModel
from csift.storage import LocalStore
from csift.training import Run, TrainingData, TrainingRow, train
model, revision, work, artifacts = sys.argv[1:]
rows = [TrainingRow([{"role": "user", "content": "How heavy is it?"}], "3 kg")] * 4
store = LocalStore(Path(artifacts))
config = TrainingConfig(max_steps=4, checkpoint_every=2)
try:
    train(Run(BaseModel("tiny", Path(model), revision), TrainingData(pairs=rows), "d", config, store, Path(work), 2))
except StorageError as error:
    print(error)
print(list(store.root.glob("adapters/*/*/manifest.json")))
"""


@pytest.mark.parametrize("full", ["checkpoints", "artifacts"])
def test_no_room_says_where_and_leaves_no_adapter(tmp_path: Path, tiny_model: BaseModel, full: str) -> None:
    disk = tmp_path / full
    disk.mkdir()
    on_disk = private_disk(disk, 64 * 1024)
    assert on_disk, "this test needs the right to mount a tmpfs (unshare)"
    folders = [str(tmp_path / "checkpoints" / "work"), str(tmp_path / "artifacts" / "store")]

    ended = run([*on_disk, sys.executable, "-c", TRAIN, str(tiny_model.path), tiny_model.revision, *folders])

    assert ended.returncode == 0, ended.stderr
    message, whole = ended.stdout.strip().splitlines()
    assert "free some space" in message
    assert str(disk) in message
    assert whole == "[]"
