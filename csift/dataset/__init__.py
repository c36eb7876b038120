"""Human, synthetic and feedback examples → a DatasetVersion: duplicates dropped, decontaminated against the eval and golden
questions, shown with the chunks that are retrieved for them, replayed, weighted, fingerprinted.
"""

from csift.dataset.building import Ingredients, build
from csift.dataset.cleaning import clean, clean_pairs, from_labels
from csift.dataset.contexts import with_contexts
from csift.dataset.mixing import mix
from csift.dataset.reading import read_card, read_view
from csift.dataset.replay import replay
from csift.dataset.versions import (
    StoredVersion,
    find,
    load_examples,
    load_origins,
    load_preferences,
    load_ratings,
    load_rejections,
    load_scores,
    load_texts,
    require_whole,
    save,
    versions,
)

__all__ = [
    "Ingredients",
    "StoredVersion",
    "build",
    "clean",
    "clean_pairs",
    "find",
    "from_labels",
    "load_examples",
    "load_origins",
    "load_preferences",
    "load_ratings",
    "load_rejections",
    "load_scores",
    "load_texts",
    "mix",
    "read_card",
    "read_view",
    "replay",
    "require_whole",
    "save",
    "versions",
    "with_contexts",
]
