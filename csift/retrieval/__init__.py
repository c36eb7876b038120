"""Embedders (MiniLM here, Titan, OpenAI-compatible servers) and retrievers (Chroma on disk or served, Bedrock Knowledge Base)."""

from csift.retrieval.bedrock_kb import BedrockKnowledgeBase
from csift.retrieval.chroma import EMBED_BATCH, ChromaIndex
from csift.retrieval.embedders import embedder
from csift.retrieval.minilm import MiniLM, minilm
from csift.retrieval.ranking import own_ranks, rank_within
from csift.retrieval.remote import BedrockTitan, OpenAIEmbedder

__all__ = [
    "EMBED_BATCH",
    "BedrockKnowledgeBase",
    "BedrockTitan",
    "ChromaIndex",
    "MiniLM",
    "OpenAIEmbedder",
    "embedder",
    "minilm",
    "own_ranks",
    "rank_within",
]
