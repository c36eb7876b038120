"""Batched generation on a tiny random model, and where models come from."""

from pathlib import Path

import pytest

from csift.config import TrainingConfig
from csift.exceptions import ModelError
from csift.inference import LocalEngine
from csift.models import BaseModel, resolve
from csift.schemas import GenerationParams
from csift.storage import LocalStore
from csift.training import Run, TrainingData, TrainingRow, train

PARAMS = GenerationParams(max_new_tokens=6)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


PROMPTS = [chat("How heavy is the pump?"), chat("What colour is the lamp that warns of frost in a long winter?"), chat("Why?")]


@pytest.fixture(scope="module")
def engine(tiny_model: BaseModel) -> LocalEngine:
    return LocalEngine(tiny_model, threads=2)


def test_answers_come_in_the_order_of_the_prompts(engine: LocalEngine) -> None:
    together = engine.generate(PROMPTS, PARAMS)
    turned = engine.generate(PROMPTS[::-1], PARAMS)

    assert [answer.text for answer in turned] == [answer.text for answer in together[::-1]]
    assert together[2].tokens_in < together[0].tokens_in < together[1].tokens_in


def test_padding_does_not_change_an_answer(engine: LocalEngine) -> None:
    alone = [engine.generate([prompt], PARAMS)[0].text for prompt in PROMPTS]

    assert [answer.text for answer in engine.generate(PROMPTS, PARAMS)] == alone


def test_an_answer_is_cut_at_the_limit_and_says_so(engine: LocalEngine) -> None:
    answer = engine.generate([PROMPTS[0]], PARAMS)[0]

    assert answer.finish == "length"
    assert answer.tokens_out == 6


def test_sampling_repeats_with_its_seed(engine: LocalEngine) -> None:
    warm = GenerationParams(max_new_tokens=12, temperature=1.5, seed=3)

    one, two = (engine.generate([PROMPTS[0]], warm)[0].text for _ in range(2))
    other = engine.generate([PROMPTS[0]], warm.model_copy(update={"seed": 4}))[0].text

    assert one == two != other


def test_a_prompt_beyond_the_window_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(ModelError, match=r"the model takes 8186; lower retrieval.k"):
        engine.generate([chat("pump " * 9000)], PARAMS)


def test_an_adapter_changes_the_answers_and_the_base_comes_back(
    engine: LocalEngine, tiny_model: BaseModel, tmp_path: Path
) -> None:
    rows = [TrainingRow(prompt, "forty-two") for prompt in PROMPTS]
    config = TrainingConfig(max_steps=40, batch_size=3, checkpoint_every=40, learning_rate=3e-2)
    store = LocalStore(tmp_path)
    adapter = train(Run(tiny_model, TrainingData(pairs=rows), "d", config, store, tmp_path / "work", 2))
    before = engine.generate(PROMPTS, PARAMS)[0].text

    tuned = engine.generate(PROMPTS, PARAMS, str(store.open_artifact(adapter.artifact)))[0].text

    assert tuned != before
    assert engine.generate(PROMPTS, PARAMS)[0].text == before


@pytest.mark.parametrize("name", ["no-such/model-anywhere", "/etc"])
def test_what_is_not_a_model_is_refused_with_a_way_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"is not a"):
        resolve(name, tmp_path)


def test_a_folder_with_broken_weights_is_refused(tiny_model: BaseModel, tmp_path: Path) -> None:
    for path in tiny_model.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")

    with pytest.raises(ModelError, match="cannot load"):
        LocalEngine(resolve(str(tmp_path), tmp_path), 2).generate(PROMPTS, PARAMS)


def test_a_model_without_a_chat_template_is_refused(tiny_model: BaseModel, tmp_path: Path) -> None:
    for path in tiny_model.path.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())

    with pytest.raises(ModelError, match="no chat template"):
        LocalEngine(resolve(str(tmp_path), tmp_path), 2).generate(PROMPTS, PARAMS)


def test_a_model_that_lets_others_go_first_asks_before_each_pass_and_answers_the_same(tiny_model: BaseModel) -> None:
    passes: list[None] = []
    prompts, params = [[{"role": "user", "content": "How heavy is the Kestrel?"}]], GenerationParams(max_new_tokens=6)
    alone = LocalEngine(tiny_model, 2).generate(prompts, params)[0]
    polite = LocalEngine(tiny_model, 2, lambda: passes.append(None)).generate(prompts, params)[0]
    assert polite.text == alone.text
    assert len(passes) == 6
