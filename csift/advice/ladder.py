"""The rungs of the ladder: which stages are advised, which are not, and the number that decided.

Continued pre-training, then supervised fine-tuning, then one preference method (Ouyang et al., Training language models to follow
instructions with human feedback, NeurIPS 2022). `_against_…` gives what speaks against a method, or None.
"""

from csift.advice.case import (
    CPT_TOKENS,
    PREFERENCES,
    REWARD_COMPARISONS,
    SFT_AMPLE,
    SFT_PAIRS,
    THUMBS,
    THUMBS_IMBALANCE,
    Case,
)
from csift.advice.memory import unfit_memory
from csift.schemas import METHODS
from csift.schemas.base import Method

Reasons = dict[Method, str]


def climb(case: Case) -> tuple[Reasons, Reasons]:
    """Why each advised stage is, in order, and why each other method is not."""
    against = _preferences(case)
    against["cpt"], against["sft"] = _against_cpt(case), _against_sft(case)
    advised = {method: _reason(case, method) for method in METHODS if against[method] is None}
    return advised, {method: why for method in METHODS if (why := against[method]) is not None}


def _preferences(case: Case) -> dict[Method, str | None]:
    """At most one method: orpo where sft and dpo are not both possible, else reinforcement learning where all that it takes is
    there, else dpo, else kto."""
    online = _online_method(case)
    rules: dict[Method, str | None] = {
        "orpo": _against_orpo(case), online: _against_online(case, online), "dpo": _against_dpo(case), "kto": _against_kto(case),
    }  # fmt: skip
    if case.goal == "domain knowledge":
        rules = dict.fromkeys(rules, "preferences teach tone and choice; the goal is domain knowledge")
    chosen = next((method for method, why in rules.items() if why is None), None)
    against: dict[Method, str | None] = {}
    for method in ("dpo", "orpo", "kto", "ppo", "grpo", "rloo"):
        why = rules[method if method in rules else online]
        against[method] = None if method == chosen else why or f"{chosen} is the one preference method of this path"
    against["reward"] = None if chosen == online else f"it steers ppo, grpo and rloo only; {online}: {against[online]}"
    return against


# --- what speaks against --------------------------------------------------------------------------------------------


def _against_cpt(case: Case) -> str | None:
    tuned = case.base.kind == "instruct"
    if case.goal == "preference and tone":
        return "raw text teaches no tone, which is the goal"
    if case.goal == "less hallucination":
        return "new facts in the weights raise hallucination (Gekhman et al., EMNLP 2024), which is to fall"
    if tuned and case.goal != "domain knowledge":
        return f"{case.base.name} is tuned for chat already, and the goal is not domain knowledge"
    if case.data.corpus_tokens < CPT_TOKENS:
        return f"{case.data.corpus_tokens:,} corpus tokens of the {CPT_TOKENS:,} from which it is worth its time"
    if tuned and not case.can_sft:
        return f"it wears off chat tuning, and {case.pairs} pairs are too few of the {SFT_PAIRS} for sft to repair that"
    return case.exceeds("cpt")


def _against_sft(case: Case) -> str | None:
    if not case.can_sft:
        return f"{case.pairs} prompt/answer pairs of the {SFT_PAIRS} from which it is seen to help"
    if case.goal != "domain knowledge" and _against_orpo(case) is None:
        return f"orpo does its work in the same pass: {case.exceeds('sft', 'dpo')}"
    return None


def _against_orpo(case: Case) -> str | None:
    if few := _few_preferences(case):
        return few
    if case.base.kind == "instruct":
        return f"it spares a base model the sft stage, and {case.base.name} has been through one"
    if case.can_sft and not case.exceeds("sft", "dpo"):
        return f"{case.pairs:,} pairs allow an sft stage of its own, and dpo after it fits the hours"
    return None


def _against_dpo(case: Case) -> str | None:
    return _few_preferences(case) or _silent_start(case)


def _against_kto(case: Case) -> str | None:
    fewer, more = sorted((case.liked, case.disliked))
    given = f"{case.liked:,} liked and {case.disliked:,} disliked answers"
    if fewer + more < THUMBS or not fewer:
        return f"{given}; it needs {THUMBS} together, and both kinds"
    if more > THUMBS_IMBALANCE * fewer:
        return f"{given}: more than {THUMBS_IMBALANCE} to 1"
    return _silent_start(case)


def _online_method(case: Case) -> Method:
    """grpo where answers are right or wrong; for tone ppo, or rloo when ppo takes too long."""
    if case.goal != "preference and tone":
        return "grpo"
    return "rloo" if case.exceeds(*_before_online(case), "ppo") else "ppo"


def _against_online(case: Case, method: Method) -> str | None:
    if case.budget.device == "cpu":
        return "it samples answers at every step, which needs a GPU; the device is cpu"
    if case.comparisons < REWARD_COMPARISONS:
        return f"{_compared(case)} are too few of the {REWARD_COMPARISONS:,} that a reward model needs"
    if silent := _silent_start(case):
        return silent
    if case.goal != "preference and tone" and _against_dpo(case) is None:
        return "dpo reaches the goal from the same preferences at less cost"
    return case.exceeds(*_before_online(case), method) or unfit_memory(case, models=2)


def _before_online(case: Case) -> tuple[Method, ...]:
    return ("sft", "reward") if case.can_sft else ("reward",)


def _few_preferences(case: Case) -> str | None:
    if case.weighted_preferences >= PREFERENCES:
        return None
    return f"{_preferred(case)} are worth {case.worth} of the {PREFERENCES} needed"


def _silent_start(case: Case) -> str | None:
    """A preference method shifts answers that the model already gives."""
    if case.base.kind == "instruct" or case.can_sft:
        return None
    return (
        f"{case.base.name} is a base model, and {case.pairs} pairs are too few of the {SFT_PAIRS} that teach it to answer first"
    )


# --- what speaks for ------------------------------------------------------------------------------------------------


def _reason(case: Case, method: Method) -> str:
    return {
        "cpt": _for_cpt, "sft": _for_sft, "dpo": _for_dpo, "orpo": _for_orpo, "kto": _for_kto, "reward": _for_reward,
        "ppo": _for_online, "grpo": _for_online, "rloo": _for_online,
    }[method](case)  # fmt: skip


def _for_cpt(case: Case) -> str:
    return f"{case.data.corpus_tokens:,} corpus tokens, at least {CPT_TOKENS:,}, teach the domain's language"


def _for_sft(case: Case) -> str:
    kinds = f"{case.data.human_pairs:,} human and {case.data.synthetic_pairs:,} synthetic"
    ample = "ample" if case.pairs >= SFT_AMPLE else f"ample would be {SFT_AMPLE:,}"
    return f"{case.pairs:,} prompt/answer pairs ({kinds}), at least {SFT_PAIRS}; {ample}"


def _for_dpo(case: Case) -> str:
    worth = f"worth {case.worth} of the {PREFERENCES} needed"
    return f"{_preferred(case)}, {worth} (Rafailov et al., NeurIPS 2023)"


def _for_orpo(case: Case) -> str:
    why = f"{case.pairs} pairs are too few of the {SFT_PAIRS} for an sft stage before dpo"
    if case.can_sft:
        why = case.exceeds("sft", "dpo") or why
    return f"{_preferred(case)}, in one pass from the base (Hong et al., EMNLP 2024): {why}"


def _for_kto(case: Case) -> str:
    return f"{case.liked:,} liked and {case.disliked:,} disliked answers, each alone (Ethayarajh et al., ICML 2024)"


def _for_reward(case: Case) -> str:
    return f"{_compared(case)}, at least {REWARD_COMPARISONS:,}; it steers the stage after it"


def _for_online(case: Case) -> str:
    method = _online_method(case)
    why = {
        "ppo": "for tone, with a critic (Ouyang et al., NeurIPS 2022)",
        "rloo": f"without a critic (Ahmadian et al., ACL 2024); ppo: {case.exceeds(*_before_online(case), 'ppo')}",
        "grpo": "answers to one question against each other (Shao et al., DeepSeekMath, 2024)",
    }[method]
    return f"{_compared(case)}, and a GPU to sample on; {why}"


def _preferred(case: Case) -> str:
    return f"{case.data.human_preferences:,} human and {case.data.ai_preferences:,} AI preferences"


def _compared(case: Case) -> str:
    return f"{case.data.human_preferences:,} human, {case.data.ai_preferences:,} AI preferences and {case.ratings:,} ratings"
