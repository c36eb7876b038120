"""LoRA fine-tuning on a tiny random model: real trl, real peft, real checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csift.config import TrainingConfig
from csift.exceptions import StorageError, TrainingError
from csift.models import BaseModel
from csift.schemas import Adapter, LossPoint
from csift.storage import LocalStore
from csift.training import TrainingRow, train_sft
from csift.training.order import order

ROWS = [
    TrainingRow([{"role": "user", "content": f"Question {n}: how heavy is pump number {n} of the catalogue?"}], f"{n} kg")
    for n in range(6)
]
CONFIG = TrainingConfig(max_steps=8, batch_size=2, checkpoint_every=2, learning_rate=1e-2)


class Trained:
    """A training run in a folder of its own, its losses kept."""

    def __init__(self, folder: Path, base: BaseModel) -> None:
        self.folder, self.base = folder, base
        self.store = LocalStore(folder / "artifacts")
        self.losses: dict[int, float] = {}

    def run(self, config: TrainingConfig = CONFIG, rows: list[TrainingRow] = ROWS, stop_after: int | None = None) -> Adapter:
        def keep(_: str, point: LossPoint) -> None:
            self.losses[point.step] = point.loss

        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        return train_sft(self.base, rows, "dataset-x", config, self.store, self.folder / "work", 2, keep, progress)


@pytest.fixture
def trained(tmp_path: Path, tiny_model: BaseModel) -> Trained:
    return Trained(tmp_path, tiny_model)


def test_the_loss_falls_and_is_kept_for_every_step(trained: Trained) -> None:
    adapter = trained.run(CONFIG.model_copy(update={"max_steps": 12}))

    assert sorted(trained.losses) == list(range(1, 13))
    assert trained.losses[12] < trained.losses[1] - 0.3
    assert adapter.metrics["steps"] == 12


def test_the_adapter_is_safetensors_with_a_manifest_that_names_its_origin(trained: Trained) -> None:
    adapter = trained.run()
    folder = trained.store.open_artifact(f"adapters/{adapter.id}")

    assert {path.name for path in folder.iterdir()} == {"adapter_model.safetensors", "adapter_config.json", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["base_revision"] == trained.base.revision
    assert manifest["dataset_id"] == "dataset-x"
    assert manifest["config"]["seed"] == 0
    assert set(manifest["versions"]) == {"torch", "transformers", "peft", "trl"}
    assert str(trained.folder) not in json.dumps(json.loads((folder / "adapter_config.json").read_text()))


def test_the_same_inputs_give_the_same_weights_on_the_same_machine(
    trained: Trained, tmp_path: Path, tiny_model: BaseModel
) -> None:
    other = Trained(tmp_path / "other", tiny_model)
    one, two = trained.run(), other.run()

    assert one.id == two.id
    assert trained.losses == other.losses
    assert trained.store.manifest(f"adapters/{one.id}")["files"] == other.store.manifest(f"adapters/{two.id}")["files"]


def test_another_seed_is_another_adapter(trained: Trained) -> None:
    assert trained.run().id != trained.run(CONFIG.model_copy(update={"seed": 1})).id


def test_an_adapter_that_exists_is_not_trained_again(trained: Trained) -> None:
    first = trained.run()
    trained.losses.clear()

    assert trained.run() == first
    assert trained.losses == {}


@pytest.mark.parametrize("stop_after", [1, 5, 7])  # before the first checkpoint, and in two places of later epochs
def test_interrupted_it_goes_on_from_the_checkpoint_to_the_same_end(
    trained: Trained, tmp_path: Path, tiny_model: BaseModel, stop_after: int
) -> None:
    whole = Trained(tmp_path / "whole", tiny_model)
    expected = whole.run()

    with pytest.raises(KeyboardInterrupt):
        trained.run(stop_after=stop_after)
    assert not trained.store.has_artifact(f"adapters/{expected.id}")
    adapter = trained.run()

    assert adapter == expected.model_copy(update={"uri": adapter.uri})
    assert trained.losses == whole.losses
    files = [t.store.manifest(f"adapters/{expected.id}")["files"] for t in (trained, whole)]
    assert files[0] == files[1]


def test_half_a_checkpoint_is_not_taken_for_a_whole_one(trained: Trained, tmp_path: Path, tiny_model: BaseModel) -> None:
    longer = CONFIG.model_copy(update={"max_steps": 6})
    whole = Trained(tmp_path / "whole", tiny_model)
    expected = whole.run(longer)
    with pytest.raises(KeyboardInterrupt):
        trained.run(longer, stop_after=5)
    last = trained.folder / "work" / expected.id / "checkpoint-4"
    assert last.exists()
    (last / "whole").unlink()  # as when it was killed while writing
    (last / "trainer_state.json").write_text("{")

    trained.run(longer)

    assert trained.losses == whole.losses


def test_the_loss_is_that_of_plain_trl(trained: Trained, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTTrainer

    from csift.inference import load_tokenizer
    from csift.training.answer_loss import AnswerLossTrainer
    from csift.training.sft import _arguments

    class InOurOrder(SFTTrainer):
        _get_train_sampler = AnswerLossTrainer._get_train_sampler

    trained.run()
    torch.manual_seed(CONFIG.seed)
    model = AutoModelForCausalLM.from_pretrained(trained.base.path, dtype=torch.bfloat16)
    data = [{"prompt": list(row.prompt), "completion": [{"role": "assistant", "content": row.completion}]} for row in ROWS]
    torch.manual_seed(CONFIG.seed)
    plain = InOurOrder(
        model=model,
        args=_arguments(CONFIG, tmp_path / "plain"),
        train_dataset=Dataset.from_list(data),
        processing_class=load_tokenizer(trained.base),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    plain.train()

    logged = {entry["step"]: float(entry["loss"]) for entry in plain.state.log_history if "loss" in entry}
    assert trained.losses == pytest.approx(logged, abs=0.02)


def test_a_row_that_does_not_fit_is_refused_before_training(trained: Trained) -> None:
    long = TrainingRow([{"role": "user", "content": "pump " * 300}], "3 kg")

    with pytest.raises(TrainingError, match=r"max_length is 64.*raise it"):
        trained.run(CONFIG.model_copy(update={"max_length": 64}), [*ROWS, long])
    assert trained.losses == {}


def test_a_loss_that_is_not_finite_stops_with_the_step(trained: Trained) -> None:
    with pytest.raises(TrainingError, match=r"step \d+; lower training.learning_rate"):
        trained.run(CONFIG.model_copy(update={"learning_rate": 0.999, "max_steps": 400, "lora_alpha": 10**9}))


def test_an_artifact_that_was_altered_is_refused(trained: Trained) -> None:
    adapter = trained.run()
    weights = Path(adapter.uri) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(StorageError, match="not what its manifest says"):
        trained.store.open_artifact(f"adapters/{adapter.id}")


def test_a_half_published_adapter_is_trained_again(trained: Trained) -> None:
    adapter = trained.run()
    (Path(adapter.uri) / "manifest.json").unlink()
    shutil.rmtree(trained.folder / "work")
    trained.losses.clear()

    assert trained.run() == adapter
    assert sorted(trained.losses) == list(range(1, 9))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=90), st.integers(1, 7), st.integers(0, 3), st.integers(0, 3))
def test_the_order_takes_every_row_once_an_epoch_and_is_drawn_from_seed_and_epoch_alone(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    rows = order(lengths, batch_size, seed, epoch)

    assert sorted(rows) == list(range(len(lengths)))
    assert order(lengths, batch_size, seed, epoch) == rows


def test_rows_of_like_length_are_trained_on_together() -> None:
    lengths = [10 * (n % 16) + 10 for n in range(128)]

    def padding(rows: list[int]) -> int:
        return sum(max(lengths[row] for row in rows[i : i + 4]) * 4 for i in range(0, 128, 4)) - sum(lengths)

    assert padding(order(lengths, 4, 0, 0)) < 0.3 * padding(sorted(range(128), key=lambda row: (row * 37) % 128))
    assert order(lengths, 4, 0, 0) != order(lengths, 4, 0, 1)
