"""What the questions of a dataset are about: clusters of their embeddings, named by the words that set each apart."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from csift.reports.data_card import Topic
from csift.textmatch import content_words

LARGEST, SMALLEST = 8, 12  # topics at most; questions a topic should have
WORDS = 5


def topics(questions: Sequence[str], vectors: NDArray[np.float32]) -> tuple[Topic, ...]:
    """k-means clusters of the questions [n, dim], the largest first.

    A cluster's words are those with the highest class-based tf-idf (Grootendorst, BERTopic, 2022, arXiv 2203.05794).
    """
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    different = len(np.unique(vectors, axis=0))
    clusters = min(LARGEST, max(1, len(questions) // SMALLEST), different)
    found = KMeans(clusters, n_init=4, random_state=0).fit_predict(vectors)
    words: list[Counter[str]] = [Counter() for _ in range(clusters)]
    for question, cluster in zip(questions, found, strict=True):
        words[cluster].update(word for word in set(content_words(question)) if word not in ENGLISH_STOP_WORDS)
    everywhere = sum(words, Counter())
    mean = sum(everywhere.values()) / clusters
    made = []
    for cluster in range(clusters):
        members = [question for question, its in zip(questions, found, strict=True) if its == cluster]
        weight = {word: number * math.log(1 + mean / everywhere[word]) for word, number in words[cluster].items()}
        named = sorted(weight, key=lambda word: (-weight[word], word))[:WORDS]
        nearest = min(members, key=lambda question: (len(question), question))
        made.append(Topic(words=tuple(named), rows=len(members), example=nearest))
    return tuple(sorted(made, key=lambda topic: (-topic.rows, topic.words)))
