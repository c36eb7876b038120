"""The facts of one situation, and what data, hours and rows they come to.

Every threshold names where it comes from, or says that it is our choice.
"""

from dataclasses import dataclass

from csift.advice.records import BaseFacts, Inventory, TrainingBudget
from csift.schemas.base import Goal, Method

# --- how much data a method needs -----------------------------------------------------------------------------------

# Our choice, well above 1.3 million: that many tokens had to be rewritten into 455 million before continued pre-training paid
# (Yang et al., Synthetic Continued Pretraining, ICLR 2025).
CPT_TOKENS = 10_000_000
# Improvements are seen from 50 to 100 examples on (OpenAI, supervised fine-tuning guide).
SFT_PAIRS = 50
# 1,000 careful examples suffice for an assistant's style (Zhou et al., LIMA, NeurIPS 2023).
SFT_AMPLE = 1_000
# Our choice: twice what a small sft needs, because a preference says less than an answer.
PREFERENCES = 100
# Our choice: a judge's preference counts half of a person's; judges like long answers and their own (Zheng et al., NeurIPS 2023).
AI_WEIGHT = 0.5
# Our choice.
THUMBS = 100
# KTO held up with nine tenths of the desirable examples left out (Ethayarajh et al., ICML 2024).
THUMBS_IMBALANCE = 10
# Our choice; 33,000 prompts trained the reward model of Ouyang et al. (NeurIPS 2022).
REWARD_COMPARISONS = 2_000

# --- how long a stage takes -----------------------------------------------------------------------------------------

ROW_TOKENS = 225  # of the rows that STEP_COST was measured on
# Our choice, for sft and offline preferences. Corpus text, reward pairs and the prompts of reinforcement learning are seen once.
EPOCHS = 2
# Seconds a step over those of sft (2.9): LoRA r=16 on all linear layers of a 135M model, 4 rows, bf16, 2 CPU cores.
# Our choice: reward 2.0, for its two answers a row; rloo as grpo, for both sample alike.
STEP_COST: dict[Method, float] = {
    "cpt": 0.86, "sft": 1.0, "dpo": 2.62, "orpo": 1.31, "kto": 1.97, "reward": 2.0, "ppo": 4.83, "grpo": 4.03, "rloo": 4.03,
}  # fmt: skip
# Parameters times tokens a second of that sft.
CPU_SPEED = 135e6 * 4 * ROW_TOKENS / 2.9
# An A100's bf16 peak (NVIDIA's data sheet), and our choice of the share of it that training reaches.
GPU_FLOPS = 312e12 * 0.3
# Forward 2, backward to the inputs 2, forward again under checkpointing 2: the weights are frozen.
FLOPS_PER_PARAMETER = 6


@dataclass(frozen=True)
class Case:
    """The facts, and what the rules ask of them."""

    data: Inventory
    base: BaseFacts
    goal: Goal
    budget: TrainingBudget

    @property
    def pairs(self) -> int:
        return self.data.human_pairs + self.data.synthetic_pairs

    @property
    def preferences(self) -> int:
        return self.data.human_preferences + self.data.ai_preferences

    @property
    def weighted_preferences(self) -> float:
        return self.data.human_preferences + AI_WEIGHT * self.data.ai_preferences

    @property
    def worth(self) -> str:
        """`weighted_preferences` in words; 99.5 is not 100."""
        return f"{self.weighted_preferences:,.1f}".removesuffix(".0") + " human ones"

    @property
    def liked(self) -> int:
        return self.data.thumbs_up + sum(self.data.scores[3:])

    @property
    def disliked(self) -> int:
        return self.data.thumbs_down + sum(self.data.scores[:2])

    @property
    def can_sft(self) -> bool:
        return self.pairs >= SFT_PAIRS

    @property
    def ratings(self) -> int:
        return sum(self.data.scores)

    @property
    def comparisons(self) -> float:
        """What a reward model learns from, in human preferences; a rating counts as one."""
        return self.weighted_preferences + self.ratings

    @property
    def most_rows(self) -> int:
        """Rows of the largest kind, corpus text apart."""
        return max(self.pairs, self.preferences, self.liked + self.disliked)

    @property
    def tokens_per_second(self) -> float:
        """Of sft; an estimate."""
        if self.budget.device == "cpu":
            return CPU_SPEED / self.base.parameters
        return GPU_FLOPS / (FLOPS_PER_PARAMETER * self.base.parameters)

    def hours(self, method: Method) -> float:
        """A rough estimate of what this stage takes."""
        rows: dict[Method, int] = {
            "sft": EPOCHS * self.pairs,
            "dpo": EPOCHS * self.preferences,
            "orpo": EPOCHS * self.preferences,
            "kto": EPOCHS * (self.liked + self.disliked),
        }
        compared = self.preferences + self.ratings
        tokens = self.data.corpus_tokens if method == "cpt" else ROW_TOKENS * rows.get(method, compared)
        return STEP_COST[method] * tokens / self.tokens_per_second / 3600

    def exceeds(self, *methods: Method) -> str | None:
        """Why these stages together do not fit into the budget, or None."""
        hours = sum(self.hours(method) for method in methods)
        if hours <= self.budget.hours:
            return None
        return f"about {in_words(hours)} for {' and '.join(methods)}, and the budget is {in_words(self.budget.hours)}"


def in_words(hours: float) -> str:
    """Hours as a reader wants them: minutes below two hours, days from two days on."""
    if hours < 2:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.2g} h" if hours < 48 else f"{hours / 24:,.0f} days"
