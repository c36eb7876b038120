"""Training on a tiny random model: real trl, real peft, real checkpoints."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from safetensors.torch import load_file

from csift.config import TrainingConfig
from csift.exceptions import ModelError, StorageError, TrainingError
from csift.inference import load_tokenizer
from csift.interfaces import Messages, no_progress
from csift.models import BaseModel, best_dtype
from csift.schemas import METHODS, Adapter, LossPoint, Method
from csift.storage import LocalStore
from csift.training import (
    InMemory,
    PreferenceRow,
    PromptRow,
    Run,
    ScoredRow,
    TextRow,
    TrainingData,
    TrainingRow,
    train,
    unpaired,
)  # fmt: skip
from csift.training.checkpoints import Checkpoints
from csift.training.launching import KINDS
from csift.training.order import order
from csift.training.rewards import RewardModel
from csift.training.rows import NEEDS
from csift.training.stage import Stage, fit_stage


def chat(n: int) -> Messages:
    return [{"role": "user", "content": f"Question {n}: how heavy is pump number {n} of the catalogue?"}]


ROWS = [TrainingRow(chat(n), f"{n} kg", f"example-{n}") for n in range(6)]
PREFERENCES = [PreferenceRow(chat(n), f"{n} kg", f"{n + 7} litres of oil", f"pair-{n}") for n in range(6)]
DATA = TrainingData(
    texts=[TextRow(f"Pump number {n} weighs {n} kg. It is blue and was made in the year 19{n}0. " * 8, str(n)) for n in range(9)],
    pairs=ROWS,
    preferences=PREFERENCES,
    ratings=unpaired(PREFERENCES),
    prompts=[PromptRow(row.prompt, row.completion, row.id) for row in ROWS],
)
CONFIG = TrainingConfig(max_steps=8, batch_size=2, checkpoint_every=2, learning_rate=1e-2)
SMALL = TrainingConfig(
    max_steps=2, batch_size=4, samples=2, checkpoint_every=1, answer_tokens=6, max_length=128,
    learning_rate=1e-2, preference_rate=1e-2, online_rate=1e-2,
)  # fmt: skip


class Trained:
    """A training run in a folder of its own, its losses kept."""

    def __init__(self, folder: Path, base: BaseModel) -> None:
        self.folder, self.base = folder, base
        self.store = LocalStore(folder / "artifacts")
        self.adapters = InMemory()
        self.losses: dict[int, float] = {}

    def run(self, config: TrainingConfig = CONFIG, rows: Sequence[TrainingRow] = ROWS, stop_after: int | None = None) -> Adapter:
        def keep(_: str, point: LossPoint) -> None:
            self.losses[point.step] = point.loss

        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        return self.train(config, dataclasses.replace(DATA, pairs=rows), on_loss=keep, progress=progress)

    def train(self, config: TrainingConfig, data: TrainingData = DATA, **told: Any) -> Adapter:
        run = Run(self.base, data, "dataset-x", config, self.store, self.folder / "work", 2, self.adapters, "me")
        return train(dataclasses.replace(run, **told))

    def folder_of(self, adapter: Adapter) -> Path:
        return self.store.open_artifact(adapter.artifact)

    def files(self, adapter: Adapter) -> dict[str, str]:
        files: dict[str, str] = self.store.manifest(adapter.artifact)["files"]
        return files


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
    folder = trained.folder_of(adapter)

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
    assert trained.files(one) == other.files(two)


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
    assert trained.store.artifacts("adapters") == []
    adapter = trained.run()

    assert adapter == expected
    assert trained.losses == whole.losses
    assert trained.files(adapter) == whole.files(expected)
    assert trained.store.artifacts("checkpoints") == []  # nobody needs them any more


def test_half_a_checkpoint_is_not_taken_for_a_whole_one(trained: Trained, tmp_path: Path, tiny_model: BaseModel) -> None:
    longer = CONFIG.model_copy(update={"max_steps": 6})
    whole = Trained(tmp_path / "whole", tiny_model)
    whole.run(longer)
    with pytest.raises(KeyboardInterrupt):
        trained.run(longer, stop_after=5)
    last = trained.store.root / trained.store.artifacts("checkpoints")[-1]
    (last / "manifest.json").unlink()  # as when it was killed while writing
    (last / "trainer_state.json").write_text("{")

    trained.run(longer)

    assert trained.losses == whole.losses


def test_a_damaged_checkpoint_falls_back_to_the_one_before(trained: Trained, tmp_path: Path, tiny_model: BaseModel) -> None:
    whole = Trained(tmp_path / "whole", tiny_model)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        trained.run(stop_after=7)
    optimiser = trained.store.root / trained.store.artifacts("checkpoints")[-1] / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:-100] + b"0" * 100)
    trained.losses.clear()

    trained.run()

    assert min(trained.losses) == 5
    assert trained.losses == {step: loss for step, loss in whole.losses.items() if step >= 5}


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("sft", "reward")])
def test_every_method_goes_on_where_it_was_interrupted(
    trained: Trained, tmp_path: Path, tiny_model: BaseModel, method: Method
) -> None:
    stages = ("reward", "ppo") if method == "ppo" else (method,)
    config = SMALL.model_copy(update={"methods": stages, "max_steps": 4, "checkpoint_every": 2})
    whole = Trained(tmp_path / "whole", tiny_model)
    expected = whole.run(config)

    with pytest.raises(KeyboardInterrupt):
        trained.run(config, stop_after=3)
    trained.losses.clear()
    adapter = trained.run(config)

    steps = (1, 2, 3, 4) if method == "ppo" else (3, 4)  # it was the reward model that was interrupted
    assert trained.losses == {step: whole.losses[step] for step in steps}
    assert trained.files(adapter) == whole.files(expected)


GOLDEN: dict[Method, list[float]] = {  # mean and last loss of two steps; of the online methods also the last mean reward
    "cpt": [10.7602, 10.7112],
    "sft": [10.8211, 10.7682],
    "dpo": [0.6767, 0.6603],
    "orpo": [10.8481, 10.7828],
    "kto": [0.4962, 0.4925],
    "reward": [0.6777, 0.6641],
    "ppo": [0.0819, 0.1531, 0.5430],
    "grpo": [0.0, 0.0, 0.5272],
    "rloo": [0.0, 0.0, 0.5200],
}


@pytest.mark.parametrize("method", GOLDEN)
def test_golden_losses(trained: Trained, method: Method) -> None:
    before: tuple[Method, ...] = ("reward",) if method in ("ppo", "grpo", "rloo") else ()
    after: tuple[Method, ...] = ("sft",) if method == "reward" else ()
    trained.run(SMALL.model_copy(update={"methods": (*before, method, *after)}))
    (metrics,) = [adapter.metrics for adapter in trained.adapters.known.values() if adapter.stages[-1] == method]

    assert metrics["steps"] == 2
    told = [metrics[name] for name in ("mean_loss", "last_loss", "last_reward") if name in metrics]
    assert told == pytest.approx(GOLDEN[method], abs=0.01)


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_the_loss_is_that_of_plain_trl(trained: Trained, tmp_path: Path, method: Method) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

    from csift.inference import load_tokenizer
    from csift.training.arguments import common
    from csift.training.watch import InOrder

    config = CONFIG.model_copy(update={"methods": (method,), "max_steps": 4, "preference_rate": 1e-3})
    trained.run(config)
    Trainer, Arguments = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}[method]

    class InOurOrder(Trainer):  # type: ignore[misc,valid-type]
        effective_batch = config.batch_size
        if method != "kto":
            _get_train_sampler = InOrder._get_train_sampler

    rate = config.learning_rate if method == "sft" else config.preference_rate
    plain = InOurOrder(
        model=_plain_peft(trained.base, config),
        args=Arguments(**common(config, tmp_path / "plain", config.batch_size, rate), max_length=1024),
        train_dataset=Dataset.from_list(_for_trl(method, config.seed)),
        processing_class=load_tokenizer(trained.base),
    )
    plain.train()

    logged = {entry["step"]: float(entry["loss"]) for entry in plain.state.log_history if "loss" in entry}
    assert trained.losses == pytest.approx(logged, abs=0.02 if method == "sft" else 0.002)
    assert len(set(logged.values())) > 1


def _plain_peft(base: BaseModel, config: TrainingConfig) -> Any:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from csift.training.adapters import lora

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=getattr(torch, best_dtype()))
    torch.manual_seed(config.seed)
    return get_peft_model(model, lora(config, base, "CAUSAL_LM"))


def _for_trl(method: Method, seed: int) -> list[dict[str, Any]]:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    if method == "sft":
        return [{"prompt": list(row.prompt), "completion": said(row.completion)} for row in ROWS]
    if method == "dpo":
        return [{"prompt": list(r.prompt), "chosen": said(r.chosen), "rejected": said(r.rejected)} for r in PREFERENCES]
    rated = [{"prompt": list(r.prompt), "completion": said(r.completion), "label": r.desirable} for r in DATA.ratings]
    random.Random(seed).shuffle(rated)
    return rated


def test_memory_that_is_short_halves_what_is_computed_at_once_and_changes_nothing_else(
    trained: Trained, tmp_path: Path, tiny_model: BaseModel
) -> None:
    import torch

    whole = Trained(tmp_path / "whole", tiny_model)
    wide = CONFIG.model_copy(update={"batch_size": 4})
    expected = whole.run(wide)
    said = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        said.append(note)
        if done == 3 and sum("memory is short" in one for one in said) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")

    adapter = trained.train(wide, progress=progress)

    assert any("memory is short, now 2 rows at once" in one for one in said)
    assert adapter.metrics["micro_batch"] == 2
    assert adapter.metrics["last_loss"] == pytest.approx(expected.metrics["last_loss"], abs=0.02)


def test_stages_follow_one_another_and_are_not_trained_twice(trained: Trained) -> None:
    first = trained.run(SMALL.model_copy(update={"methods": ("sft",)}))
    trained.losses.clear()
    both = trained.run(SMALL.model_copy(update={"methods": ("sft", "dpo")}))

    assert both.stages == ("sft", "dpo")
    assert trained.losses[1] == pytest.approx(math.log(2), abs=1e-3)  # the policy starts as its reference
    assert trained.files(both)["adapter_model.safetensors"] != trained.files(first)["adapter_model.safetensors"]


def test_a_reward_model_starts_from_the_stage_before_with_a_head_in_float32(trained: Trained, tmp_path: Path) -> None:
    policy = trained.folder_of(trained.train(SMALL))
    stage = Stage(
        base=trained.base, method="reward", rows=tuple(PREFERENCES), threads=2, micro_batch=2, scratch=tmp_path / "reward",
        config=SMALL.model_copy(update={"max_steps": 1, "batch_size": 2, "learning_rate": 1e-12}),
        checkpoints=Checkpoints(trained.store, "reward", "me"), policy=policy, reward=None,
    )  # fmt: skip
    fit_stage(stage, lambda point: None, no_progress)

    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (policy, stage.output))
    assert set(after) - set(before) == {"base_model.model.score.weight"}
    assert all(torch.allclose(after[name], weights, atol=1e-9) for name, weights in before.items())
    assert after["base_model.model.score.weight"].dtype == torch.float32


def test_a_reward_model_learns_how_good_a_scored_answer_is_and_pairs_beside_it(trained: Trained, tmp_path: Path) -> None:
    def reward(name: str, rows: Sequence[PreferenceRow | ScoredRow]) -> float:
        """The mean reward of the answers of ROWS."""
        stage = Stage(
            base=trained.base, method="reward", rows=tuple(rows), threads=2, micro_batch=4, scratch=tmp_path / name,
            config=SMALL.model_copy(update={"max_steps": 6}), policy=None, reward=None,
            checkpoints=Checkpoints(trained.store, name, "me"),
        )  # fmt: skip
        fit_stage(stage, lambda point: None, no_progress)
        model = RewardModel(trained.base, stage.output, load_tokenizer(trained.base))
        told = model.score([PromptRow(row.prompt, "", row.id) for row in ROWS], [row.completion for row in ROWS])
        return sum(told) / len(told)

    def scored(score: float) -> list[ScoredRow]:
        return [ScoredRow(row.prompt, row.completion, score, row.id) for row in ROWS]

    good, bad = (reward(f"scored-{score}", scored(score)) for score in (1.0, 0.0))
    assert good > 0 > bad  # the log-odds of being good, where a pair would tell a difference only
    assert reward("both", [*PREFERENCES, *scored(1.0)]) > bad


def test_a_row_of_either_kind_reaches_processes_that_accelerate_launches() -> None:
    rows: list[Any] = [PREFERENCES[0], ScoredRow(chat(1), "1 kg", 0.25, "s")]
    read = TypeAdapter(KINDS[NEEDS["reward"]])
    assert [read.validate_python(json.loads(json.dumps(dataclasses.asdict(row)))) for row in rows] == rows


def test_a_stage_without_data_says_what_it_needs(trained: Trained) -> None:
    with pytest.raises(TrainingError, match="dpo learns from preferences and the dataset has none; add some or drop the stage"):
        trained.train(SMALL.model_copy(update={"methods": ("dpo",)}), TrainingData(pairs=ROWS))


@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_other_kinds_of_adapters_train_and_load(trained: Trained, kind: str) -> None:
    from csift.inference import load

    adapter = trained.run(SMALL.model_copy(update={"adapter": kind, "target_modules": ("q_proj", "v_proj")}))

    load(trained.base, str(trained.folder_of(adapter)))
    assert json.loads((trained.folder_of(adapter) / "adapter_config.json").read_text())["use_dora"] == (kind == "dora")


def test_an_adapter_is_not_loaded_on_another_base(trained: Trained) -> None:
    from csift.inference import load

    folder = str(trained.folder_of(trained.run(SMALL)))
    other = dataclasses.replace(trained.base, revision="another")

    with pytest.raises(ModelError, match=r"was trained on .*@\w+, not on .*@another; name the base model that it was trained on"):
        load(other, folder)
    (Path(folder) / "manifest.json").unlink()
    with pytest.raises(ModelError, match="has no manifest that names its base"):
        load(trained.base, folder)


def test_modules_that_the_model_does_not_have_are_named(trained: Trained) -> None:
    with pytest.raises(TrainingError, match=r"nowhere.*correct training.target_modules"):
        trained.run(SMALL.model_copy(update={"target_modules": ("nowhere",)}))


def test_answers_that_share_a_prompt_score_as_if_each_were_alone(tiny_model: BaseModel) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from csift.training.answer_head import score

    model = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    ids = torch.randint(3, 400, (4, 14), generator=torch.Generator().manual_seed(1))
    ids[2, :9] = ids[0, :9]  # rows 0 and 2 share their prompt; row 1 is padded left, row 3 right
    seen, labels = torch.ones_like(ids), ids.clone()
    labels[:, :9] = -100
    seen[1, :3], seen[3, 12:], labels[3, 12:] = 0, 0, -100

    together = score(model, ids, seen, labels).log_probs
    alone = torch.cat([score(model, ids[i : i + 1], seen[i : i + 1], labels[i : i + 1]).log_probs for i in range(4)])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert (together != 0).sum() == (labels[:, 1:] != -100).sum()


def test_a_prompt_that_does_not_fit_loses_its_middle_and_is_counted(trained: Trained) -> None:
    long = TrainingRow([{"role": "user", "content": "first " + "pump " * 300 + "last"}], "3 kg", "long")

    adapter = trained.run(CONFIG.model_copy(update={"max_length": 64}), [*ROWS, long])

    assert adapter.metrics["truncated"] == 1


def test_an_answer_that_does_not_fit_is_refused_before_training(trained: Trained) -> None:
    long = TrainingRow(chat(1), "pump " * 300, "example-9")

    with pytest.raises(
        TrainingError, match=r"answer of training example example-9 and .* are longer than training.max_length = 64"
    ):
        trained.run(CONFIG.model_copy(update={"max_length": 64}), [*ROWS, long])
    assert trained.losses == {}


def test_a_loss_that_explodes_stops_with_the_step_and_the_examples(trained: Trained) -> None:
    with pytest.raises(TrainingError, match=r"step \d+, in a batch of example-\d, example-\d; look at these examples"):
        trained.run(CONFIG.model_copy(update={"learning_rate": 0.999, "max_steps": 20, "lora_alpha": 10**38}))


def test_an_artifact_that_was_altered_is_refused(trained: Trained) -> None:
    adapter = trained.run()
    weights = trained.folder_of(adapter) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(StorageError, match="not what its manifest says"):
        trained.folder_of(adapter)


def test_another_run_takes_up_the_checkpoint_of_the_one_that_was_killed(trained: Trained) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained.run(stop_after=5)
    steps: list[int] = []

    adapter = trained.train(CONFIG, holder="another", on_loss=lambda _, point: steps.append(point.step))

    assert (steps, adapter.artifact) == ([5, 6, 7, 8], f"adapters/{adapter.id}/another")
    assert [key.split("/")[-1] for key in trained.store.artifacts("adapters")] == ["another"]


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
