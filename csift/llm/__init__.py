"""Language models for DSPy programs: the local one, and served ones (Bedrock, any OpenAI-compatible server).

Every call goes through the ledger: found there, it is not made again; made, it is booked before anybody sees its answer.
"""

from csift.llm.local import WAVE, local_model
from csift.llm.mapping import LanguageModel
from csift.llm.remote import Backoff, is_served, price_within, remote_model
from csift.llm.stored import NotStored, stored_model

__all__ = [
    "WAVE",
    "Backoff",
    "LanguageModel",
    "NotStored",
    "is_served",
    "local_model",
    "price_within",
    "remote_model",
    "stored_model",
]
