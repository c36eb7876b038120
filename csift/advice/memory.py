"""Which adapter, by the memory that training takes.

Weights, adapter with its optimiser, activations and logits are added up; the model's width and depth are guessed from its
parameters. bench/train.py measures; this only tells a model that fits from one that does not.
"""

from dataclasses import dataclass

from csift.advice.case import SFT_AMPLE, Case
from csift.advice.records import AdapterAdvice
from csift.exceptions import TrainingError
from csift.schemas.base import Method

BYTES_BF16 = 2.0
# 4 bits and the constants of their blocks, 0.127 bits after double quantisation (Dettmers et al., QLoRA, NeurIPS 2023).
BYTES_NF4 = (4 + 0.127) / 8
# fp32 weight, gradient and Adam's two moments (Rajbhandari et al., ZeRO, SC 2020).
BYTES_ADAPTER = 16
# Inputs and outputs of a layer's seven projections in hidden sizes (MLP 3.67 wide): adapter weights per rank, layer and width.
ADAPTER_WIDTHS = 22
# With checkpointing a token leaves 2 bytes a layer and width; the one layer computed again takes 34 (Korthikanti et al., Reducing
# Activation Recomputation in Large Transformer Models, MLSys 2023, attention without its matrix).
BYTES_CHECKPOINT, BYTES_LAYER = 2, 34
BYTES_LOGIT = 8  # fp32, and its gradient
VOCABULARY = 128_000  # Llama 3's; many are smaller
WIDTH_BY_DEPTH = 128  # hidden size over layers of models of 7 billion parameters
LONGEST_ROW = 1024  # csift's longest row; one is a micro-batch, for csift halves it down to that when memory runs out
OVERHEAD_GB = 1.5  # our choice: CUDA context, buffers, fragments
USABLE = 0.9  # our choice: share of the GPU's memory to plan with
RANK = 16  # our choice, csift's default
# Our choice: DoRA's gain over LoRA is largest at low ranks (Liu et al., DoRA, ICML 2024).
RANK_FEW = 8
# Our choice: continued pre-training wants high ranks (Biderman et al., TMLR 2024), and LoRA's own scaling stalls there
# (Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA, 2023).
RANK_CPT = 64


@dataclass(frozen=True)
class Memory:
    """The parts of the peak, in GB of 10⁹ bytes."""

    weights: float
    adapter: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.adapter + self.activations + OVERHEAD_GB

    def __str__(self) -> str:
        parts = f"weights {self.weights:.1f}, adapter and Adam {self.adapter:.1f}, activations {self.activations:.1f}"
        return f"{parts}, overhead {OVERHEAD_GB} = {self.total:.1f} GB"


def peak(case: Case, weight_bytes: float, rank: int, models: int) -> Memory:
    """What training takes with `models` copies of the base in memory: the policy, and the reward model beside it."""
    depth = (case.base.parameters / (12 * WIDTH_BY_DEPTH**2)) ** (1 / 3)
    width = WIDTH_BY_DEPTH * depth
    tokens = min(LONGEST_ROW, case.base.context_length)
    per_token = width * (BYTES_CHECKPOINT * depth + BYTES_LAYER) + BYTES_LOGIT * VOCABULARY
    return Memory(
        weights=models * weight_bytes * case.base.parameters / 1e9,
        adapter=BYTES_ADAPTER * ADAPTER_WIDTHS * rank * width * depth / 1e9,
        activations=tokens * per_token / 1e9,
    )


def unfit_memory(case: Case, models: int) -> str | None:
    """Why not even 4-bit weights fit into the GPU, or None."""
    least = peak(case, BYTES_NF4, RANK, models)
    room = _room(case)
    if room is None or least.total <= room:
        return None
    return f"in 4 bits {least}, and {room:.1f} of the GPU's {case.budget.gpu_memory_gb:g} GB can be planned with"


def choose_adapter(case: Case, stages: tuple[Method, ...]) -> AdapterAdvice:
    """The adapter for these stages.

    Raises:
        TrainingError: the base fits into the GPU's memory in no form.
    """
    models = 2 if "reward" in stages else 1
    high = "cpt" in stages
    room = _room(case)
    plain = peak(case, BYTES_BF16, RANK_CPT if high else RANK, models)
    if room is not None and plain.total > room:
        return _quantised(case, plain, models)
    fits = f"bf16 {plain}" if room is None else f"bf16 {plain} of the {room:.1f} to plan with"
    if high:
        reason = f"{fits}; cpt wants a high rank, where plain LoRA's scaling stalls (Kalajdzievski 2023)"
        return AdapterAdvice(kind="rslora", rank=RANK_CPT, reason=reason, memory_gb=plain.total)
    if room is not None and case.most_rows < SFT_AMPLE:
        few = f"{case.most_rows:,} rows, fewer than {SFT_AMPLE:,}, suit a low rank, where DoRA gains most (Liu et al., ICML 2024)"
        return AdapterAdvice(kind="dora", rank=RANK_FEW, reason=f"{fits}; {few}", memory_gb=plain.total)
    return AdapterAdvice(kind="lora", rank=RANK, reason=fits, memory_gb=plain.total)


def _quantised(case: Case, plain: Memory, models: int) -> AdapterAdvice:
    if too_large := unfit_memory(case, models):
        raise TrainingError(f"{case.base.name} does not fit: {too_large}; choose a smaller base model or a larger GPU")
    small = peak(case, BYTES_NF4, RANK, models)
    reason = f"bf16 {plain}, more than the {_room(case):.1f} to plan with; in 4 bits {small}"
    return AdapterAdvice(kind="qlora", rank=RANK, reason=reason, memory_gb=small.total)


def _room(case: Case) -> float | None:
    """GB of the GPU to plan with; None without a GPU or when its memory is not known."""
    return None if case.budget.gpu_memory_gb is None else USABLE * case.budget.gpu_memory_gb
