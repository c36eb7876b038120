"""Language models for DSPy programs: the local one, and served ones (Bedrock, any OpenAI-compatible server).

Every call goes through the ledger: found there, it is not made again; made, it is booked before anybody sees its answer.
"""

from csift.llm.local import WAVE, GatheringEngine, local_model
from csift.llm.mapping import LanguageModel
from csift.llm.old import local_lm, map_batched
from csift.llm.remote import Backoff, is_served, remote_model

__all__ = [
    "WAVE",
    "Backoff",
    "GatheringEngine",
    "LanguageModel",
    "is_served",
    "local_lm",
    "local_model",
    "map_batched",
    "remote_model",
]
