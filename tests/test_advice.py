"""The advised path follows the data, the base, the goal and the budget, and says which number decided."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from csift.advice import Advice, BaseFacts, Goal, Inventory, TrainingBudget, advise, explain
from csift.advice.base import base_facts
from csift.advice.cautions import licence_cautions
from csift.exceptions import TrainingError
from csift.models import BaseModel
from csift.schemas import METHODS
from csift.schemas.base import Method

SMALL = BaseFacts(
    name="smollm2", kind="instruct", licence="apache-2.0", parameters=135_000_000, context_length=8192, has_chat_template=True
)
SMALL_BASE = SMALL.model_copy(update={"name": "smollm2-base", "kind": "base", "has_chat_template": False})
SEVEN = SMALL.model_copy(update={"name": "seven", "parameters": 7_000_000_000})
SEVEN_BASE = SEVEN.model_copy(update={"name": "seven-base", "kind": "base"})
SEVENTY = SMALL.model_copy(update={"name": "seventy", "parameters": 70_000_000_000})

LAPTOP = TrainingBudget(device="cpu", hours=8)
GPU = TrainingBudget(device="gpu", gpu_memory_gb=80, hours=48)
SMALL_GPU = TrainingBudget(device="gpu", gpu_memory_gb=16, hours=48)
UNKNOWN_GPU = TrainingBudget(device="gpu", hours=48)

KNOWLEDGE: Goal = "domain knowledge"
ACCURACY: Goal = "answer style and accuracy"
TONE: Goal = "preference and tone"
HALLUCINATION: Goal = "less hallucination"

PAIRS = Inventory(human_pairs=120, synthetic_pairs=900, eval_questions=300)
CORPUS = Inventory(corpus_tokens=20_000_000, eval_questions=300)


def with_(data: Inventory, **counts: object) -> Inventory:
    """The inventory with some counts changed."""
    return Inventory.model_validate(data.model_dump() | counts)


def reason(advice: Advice, method: Method) -> str:
    """Why a method is advised or left out."""
    reasons = {stage.method: stage.reason for stage in advice.path} | {entry.method: entry.reason for entry in advice.left_out}
    return reasons[method]


def warned(advice: Advice, *words: str) -> bool:
    """Whether one warning has all these words."""
    return any(all(word in warning for word in words) for warning in advice.warnings)


# --- the golden table -----------------------------------------------------------------------------------------------

GOLDEN: dict[str, tuple[Inventory, BaseFacts, Goal, TrainingBudget, str, str]] = {
    "a few pairs on a laptop": (PAIRS, SMALL, ACCURACY, LAPTOP, "sft", "lora 16"),
    "fifty pairs suffice": (Inventory(human_pairs=50), SMALL, ACCURACY, LAPTOP, "sft", "lora 16"),
    "pairs for a small GPU": (PAIRS, SEVEN, ACCURACY, SMALL_GPU, "sft", "qlora 16"),
    "few pairs with room on the GPU": (Inventory(human_pairs=400), SEVEN, ACCURACY, GPU, "sft", "dora 8"),
    "a GPU of unknown memory": (PAIRS, SEVEN, ACCURACY, UNKNOWN_GPU, "sft", "lora 16"),
    "raw text and a base model": (CORPUS, SEVEN_BASE, KNOWLEDGE, GPU, "cpt", "rslora 64"),
    "raw text, pairs and a base model": (with_(CORPUS, human_pairs=5000), SEVEN_BASE, ACCURACY, GPU, "cpt sft", "rslora 64"),
    "raw text and pairs for a chat model": (with_(CORPUS, human_pairs=5000), SEVEN, KNOWLEDGE, GPU, "cpt sft", "rslora 64"),
    "a chat model that only has to answer better": (with_(CORPUS, human_pairs=5000), SEVEN, ACCURACY, GPU, "sft", "lora 16"),
    "too little raw text": (with_(PAIRS, corpus_tokens=9_999_999), SMALL_BASE, KNOWLEDGE, LAPTOP, "sft", "lora 16"),
    "raw text that a laptop cannot read overnight": (
        with_(CORPUS, corpus_tokens=40_000_000, human_pairs=80), SMALL_BASE, KNOWLEDGE, LAPTOP, "sft", "lora 16",
    ),
    "pairs and people's preferences": (with_(PAIRS, human_preferences=100), SMALL, TONE, LAPTOP, "sft dpo", "lora 16"),
    "a judge's preferences count half": (with_(PAIRS, ai_preferences=199), SMALL, TONE, LAPTOP, "sft", "lora 16"),
    "twice as many of a judge's will do": (with_(PAIRS, ai_preferences=200), SMALL, TONE, LAPTOP, "sft dpo", "lora 16"),
    "preferences alone, chat model": (Inventory(human_preferences=300), SMALL, TONE, LAPTOP, "dpo", "lora 16"),
    "preferences alone, base model": (Inventory(human_preferences=300), SMALL_BASE, TONE, LAPTOP, "orpo", "lora 16"),
    "a base model and no hours for two passes": (
        with_(PAIRS, human_preferences=2000), SMALL_BASE, TONE, TrainingBudget(device="cpu", hours=2), "orpo", "lora 16",
    ),
    "thumbs alone": (Inventory(thumbs_up=300, thumbs_down=60), SMALL, TONE, LAPTOP, "kto", "lora 16"),
    "ratings serve as thumbs": (Inventory(scores=(40, 20, 30, 70, 90)), SMALL, TONE, LAPTOP, "kto", "lora 16"),
    "thumbs and preferences": (
        with_(PAIRS, human_preferences=150, thumbs_up=900, thumbs_down=400), SMALL, TONE, LAPTOP, "sft dpo", "lora 16",
    ),
    "many preferences and a GPU": (
        with_(PAIRS, human_preferences=30_000), SEVEN, TONE, TrainingBudget(device="gpu", gpu_memory_gb=80, hours=200),
        "sft reward ppo", "lora 16",
    ),
    "a reward model takes its place in memory": (
        with_(PAIRS, human_preferences=30_000), SEVEN, TONE, TrainingBudget(device="gpu", gpu_memory_gb=24, hours=200),
        "sft reward ppo", "qlora 16",
    ),
    "the same in fewer hours": (
        with_(PAIRS, human_preferences=30_000), SEVEN, TONE, TrainingBudget(device="gpu", gpu_memory_gb=80, hours=5.5),
        "sft reward rloo", "lora 16",
    ),
    "the same in one hour": (
        with_(PAIRS, human_preferences=30_000), SEVEN, TONE, TrainingBudget(device="gpu", gpu_memory_gb=80, hours=1),
        "sft dpo", "lora 16",
    ),
    "the same on a laptop": (with_(PAIRS, human_preferences=30_000), SMALL, TONE, LAPTOP, "sft dpo", "lora 16"),
    "ratings of right and wrong": (
        with_(PAIRS, scores=(900, 900, 900, 900, 900)), SEVEN, ACCURACY, GPU, "sft reward grpo", "lora 16",
    ),
    "a reward model that does not fit beside the policy": (
        with_(PAIRS, human_preferences=5000), SEVENTY, TONE, TrainingBudget(device="gpu", gpu_memory_gb=70, hours=500),
        "sft dpo", "qlora 16",
    ),
    "preferences do not teach a domain": (with_(PAIRS, human_preferences=5000), SMALL, KNOWLEDGE, LAPTOP, "sft", "lora 16"),
    "less hallucination": (
        with_(PAIRS, corpus_tokens=20_000_000, human_preferences=5000), SEVEN_BASE, HALLUCINATION, GPU, "sft dpo", "lora 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_situations(name: str) -> None:
    data, base, goal, budget, stages, adapter = GOLDEN[name]
    advice = advise(data, base, goal, budget)
    assert " ".join(advice.stages) == stages
    assert f"{advice.adapter.kind} {advice.adapter.rank}" == adapter


def test_golden_situations_show_every_method_and_adapter() -> None:
    shown = {method for *_, stages, _ in GOLDEN.values() for method in stages.split()}
    assert shown == set(METHODS)
    assert {adapter.split()[0] for *_, adapter in GOLDEN.values()} == {"lora", "dora", "rslora", "qlora"}


# --- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method", "number"),
    [
        ("a few pairs on a laptop", "sft", "1,020 prompt/answer pairs (120 human and 900 synthetic)"),
        ("too little raw text", "cpt", "9,999,999 corpus tokens of the 10,000,000"),
        ("raw text and a base model", "cpt", "20,000,000 corpus tokens"),
        ("raw text that a laptop cannot read overnight", "cpt", "about 31 h for cpt, and the budget is 8 h"),
        ("a judge's preferences count half", "dpo", "0 human and 199 AI preferences are worth 99.5 human ones of the 100"),
        ("preferences alone, base model", "dpo", "0 pairs are too few of the 50"),
        ("preferences alone, base model", "orpo", "Hong et al., EMNLP 2024"),
        ("thumbs alone", "kto", "300 liked and 60 disliked"),
        ("ratings serve as thumbs", "kto", "160 liked and 60 disliked"),
        ("thumbs and preferences", "kto", "dpo is the one preference method"),
        ("the same on a laptop", "ppo", "the device is cpu"),
        ("the same on a laptop", "reward", "steers ppo, grpo and rloo only"),
        ("the same in fewer hours", "rloo", "and the budget is 5.5 h"),
        ("a reward model that does not fit beside the policy", "ppo", "of the GPU's 70 GB"),
        ("less hallucination", "cpt", "Gekhman et al., EMNLP 2024"),
        ("less hallucination", "grpo", "dpo reaches the goal"),
    ],
)
def test_reason_names_the_number_that_decided(name: str, method: Method, number: str) -> None:
    assert number in reason(advise(*GOLDEN[name][:4]), method)


def test_one_sided_thumbs_teach_nothing() -> None:
    with pytest.raises(TrainingError, match="both kinds"):
        advise(Inventory(thumbs_up=5000), SMALL, TONE, LAPTOP)
    with pytest.raises(TrainingError, match="more than 10 to 1"):
        advise(Inventory(thumbs_up=5000, thumbs_down=499), SMALL, TONE, LAPTOP)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_to_train_on_says_what_to_add() -> None:
    with pytest.raises(TrainingError, match="nothing to train on: add 50 prompt/answer pairs, 100 preferences"):
        advise(Inventory(eval_questions=400), SMALL, ACCURACY, LAPTOP)


def test_data_that_does_not_serve_the_goal_is_refused_with_what_lacks() -> None:
    with pytest.raises(
        TrainingError, match=r"goal 'domain knowledge'.*cpt: 0 corpus tokens.*sft: 0 prompt/answer pairs"
    ) as caught:
        advise(Inventory(human_preferences=5000), SMALL, KNOWLEDGE, LAPTOP)
    assert "\n" not in str(caught.value)


def test_base_that_fits_in_no_form_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(TrainingError, match=r"seventy does not fit: in 4 bits weights 36\.1.* of the GPU's 24 GB"):
        advise(PAIRS, SEVENTY, ACCURACY, TrainingBudget(device="gpu", gpu_memory_gb=24, hours=48))


@pytest.mark.parametrize("counts", [{"human_pairs": -1}, {"scores": (1, 2, 3)}, {"scores": (0, 0, -1, 0, 0)}, {"likes": 3}])
def test_impossible_counts_are_refused(counts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Inventory.model_validate(counts)


def test_memory_of_a_gpu_on_a_cpu_is_refused() -> None:
    with pytest.raises(ValidationError, match="set device to gpu"):
        TrainingBudget(device="cpu", gpu_memory_gb=24, hours=1)


# --- adapter and time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gb", "kind"), [(80, "lora"), (24, "lora"), (16, "qlora"), (12, "qlora")])
def test_seven_billion_parameters_go_into_bits_by_the_gpu(gb: float, kind: str) -> None:
    """As in practice: a 7B trains with LoRA in bf16 on 24 GB, and on 12 to 16 GB with QLoRA."""
    advice = advise(PAIRS, SEVEN, ACCURACY, TrainingBudget(device="gpu", gpu_memory_gb=gb, hours=48))
    assert advice.adapter.kind == kind
    assert advice.adapter.memory_gb <= 0.9 * gb


def test_sixty_five_billion_parameters_fit_48_gb_in_4_bits() -> None:
    """The headline of QLoRA (Dettmers et al., NeurIPS 2023)."""
    base = SEVENTY.model_copy(update={"parameters": 65_000_000_000})
    advice = advise(PAIRS, base, ACCURACY, TrainingBudget(device="gpu", gpu_memory_gb=48, hours=500))
    assert advice.adapter.kind == "qlora"


def test_hours_of_the_measured_case() -> None:
    """135M on 2 cores: 4 rows of sft take 2.9 s, so 1,020 pairs seen twice take 510 steps."""
    advice = advise(PAIRS, SMALL, ACCURACY, LAPTOP)
    assert advice.hours == pytest.approx(510 * 2.9 / 3600)
    assert advice.tokens_per_second == pytest.approx(900 / 2.9)


# --- warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("licence", ["apache-2.0", "Apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0"])
def test_permissive_licences_need_no_warning(licence: str) -> None:
    assert list(licence_cautions(licence)) == []


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("cc-by-nc-4.0", "forbids commercial use"), ("research-only", "forbids commercial use"),
        ("non-commercial", "forbids commercial use"), ("cc-by-nd-4.0", "forbids derivatives"),
        ("llama2", "limits who may use it"), ("llama3.1", "limits who may use it"), ("gemma", "limits who may use it"),
        ("bigscience-openrail-m", "limits who may use it"), ("agpl-3.0", "keep its licence"),
        ("cc-by-sa-4.0", "keep its licence"), ("unknown", "find out"), ("other", "find out"), ("", "find out"),
    ],
)  # fmt: skip
def test_licences_with_conditions_are_named(licence: str, words: str) -> None:
    base = SMALL.model_copy(update={"licence": licence})
    assert warned(advise(PAIRS, base, ACCURACY, LAPTOP), "licence", words)


def test_licence_that_forbids_two_things_says_both() -> None:
    assert len(list(licence_cautions("cc-by-nc-nd-4.0"))) == 2


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        (0, "cannot decide"),
        (114, "114 eval questions: the gate may miss a gain of 10 points (needs 115–230"),
        (229, "may miss a gain of 10 points"),
        (230, "may miss a gain of 5 points (needs 470–940"),
        (470, None),
    ],
)
def test_too_few_eval_questions_are_told_with_how_many_it_takes(questions: int, words: str | None) -> None:
    advice = advise(with_(PAIRS, eval_questions=questions), SMALL, ACCURACY, LAPTOP)
    assert warned(advice, words) if words else not warned(advice, "gate")


@pytest.mark.parametrize(("goal", "told"), [(KNOWLEDGE, True), (HALLUCINATION, True), (ACCURACY, False), (TONE, False)])
def test_facts_that_change_belong_into_retrieval(goal: Goal, told: bool) -> None:
    assert warned(advise(PAIRS, SMALL, goal, LAPTOP), "retrieval", "Ovadia et al., EMNLP 2024") is told


def test_base_without_chat_template_is_told() -> None:
    assert warned(advise(PAIRS, SMALL_BASE, ACCURACY, LAPTOP), "no chat template")
    assert not warned(advise(PAIRS, SMALL, ACCURACY, LAPTOP), "chat template")


def test_base_that_only_reads_text_answers_nothing() -> None:
    assert warned(advise(CORPUS, SEVEN_BASE, KNOWLEDGE, GPU), "will not answer questions after cpt alone")


def test_path_longer_than_the_budget_is_told() -> None:
    assert warned(advise(PAIRS, SEVEN, ACCURACY, LAPTOP), "the budget is 8 h", "max_steps")


def test_unknown_memory_is_told_with_what_is_needed() -> None:
    assert warned(advise(PAIRS, SEVEN, ACCURACY, UNKNOWN_GPU), "memory is not known: lora needs about 18 GB, qlora about 7 GB")


def test_data_without_people_is_told() -> None:
    advice = advise(Inventory(synthetic_pairs=900, ai_preferences=900), SMALL, TONE, LAPTOP)
    assert warned(advice, "all 900 pairs are synthetic")
    assert warned(advice, "all 900 preferences are a judge's")


def test_short_window_is_told() -> None:
    base = SMALL.model_copy(update={"context_length": 512})
    assert warned(advise(PAIRS, base, ACCURACY, LAPTOP), "reads 512 tokens")


def test_explanation_shows_all_of_the_advice() -> None:
    advice = advise(with_(PAIRS, human_preferences=150), SMALL_BASE, HALLUCINATION, LAPTOP)
    text = explain(advice)
    assert text.startswith("Path: sft → dpo\n")
    for part in (*(stage.reason for stage in advice.path), *(entry.reason for entry in advice.left_out), *advice.warnings):
        assert part in text.splitlines() or any(line.endswith(part) for line in text.splitlines())
    assert advice.adapter.reason in text


# --- what holds in every situation -----------------------------------------------------------------------------------

COUNTS = st.sampled_from([0, 1, 49, 50, 99, 100, 999, 1_000, 2_000, 50_000])
INVENTORIES = st.builds(
    Inventory,
    corpus_tokens=st.sampled_from([0, 30_000, 9_999_999, 10_000_000, 5_000_000_000]),
    human_pairs=COUNTS, synthetic_pairs=COUNTS, ai_preferences=COUNTS, human_preferences=COUNTS,
    thumbs_up=COUNTS, thumbs_down=COUNTS, scores=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), eval_questions=COUNTS,
)  # fmt: skip
BASES = st.sampled_from([SMALL, SMALL_BASE, SEVEN, SEVEN_BASE, SEVENTY])
GOALS = st.sampled_from([KNOWLEDGE, ACCURACY, TONE, HALLUCINATION])
HOURS = st.sampled_from([0.1, 8, 500])
ON_CPU = st.builds(TrainingBudget, device=st.just("cpu"), hours=HOURS)
ON_GPU = st.builds(TrainingBudget, device=st.just("gpu"), gpu_memory_gb=st.sampled_from([None, 16, 24, 80, 640]), hours=HOURS)


def has_data(data: Inventory, method: Method) -> bool:
    """Whether there is anything at all that this method learns from."""
    preferences = data.human_preferences + data.ai_preferences
    liked, disliked = data.thumbs_up + sum(data.scores[3:]), data.thumbs_down + sum(data.scores[:2])
    return {
        "cpt": data.corpus_tokens > 0, "sft": data.human_pairs + data.synthetic_pairs > 0, "dpo": preferences > 0,
        "orpo": preferences > 0, "kto": liked > 0 and disliked > 0,
    }.get(method, preferences + sum(data.scores) > 0)  # fmt: skip


@given(INVENTORIES, BASES, GOALS, ON_CPU | ON_GPU)
def test_every_path_is_sound(data: Inventory, base: BaseFacts, goal: Goal, budget: TrainingBudget) -> None:
    try:
        advice = advise(data, base, goal, budget)
    except TrainingError as error:
        assert "\n" not in str(error)
        return
    stages = advice.stages
    assert stages
    assert all(has_data(data, method) for method in stages)
    assert list(stages) == sorted(stages, key=METHODS.index)
    assert len({"dpo", "orpo", "kto", "ppo", "grpo", "rloo"} & set(stages)) <= 1
    assert ("reward" in stages) == bool({"ppo", "grpo", "rloo"} & set(stages))
    assert not ("reward" in stages and budget.device == "cpu")
    assert base.kind == "instruct" or "sft" in stages or not {"dpo", "kto", "reward"} & set(stages)
    assert sorted((*stages, *(entry.method for entry in advice.left_out))) == sorted(METHODS)
    assert advice.adapter.kind != "qlora" or budget.device == "gpu"
    assert budget.gpu_memory_gb is None or advice.adapter.memory_gb <= budget.gpu_memory_gb
    assert advice == advise(data, base, goal, budget)
    assert "None" not in explain(advice)


def test_the_facts_of_a_model_are_read_from_its_files(tiny_model: BaseModel, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    facts = base_facts(tiny_model)
    assert facts.parameters == sum(w.numel() for w in AutoModelForCausalLM.from_pretrained(tiny_model.path).parameters())
    assert (facts.kind, facts.licence, facts.context_length, facts.has_chat_template) == ("instruct", "unknown", 8192, True)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to(tiny_model.path / name)
    (bare / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nA model.\n")
    told = base_facts(BaseModel("bare", bare, "x"))
    assert (told.kind, told.licence, told.has_chat_template) == ("base", "cc-by-nc-4.0", False)
