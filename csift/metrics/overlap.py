"""Words shared with the gold answer: exact match and token F1 as SQuAD defines them, and ROUGE-L.

The reference judge goes by csift.textmatch.token_f1, which takes "sage-green" and "buttons" for "sage green" and "button"; these
are the published definitions, for figures that others can compare.
"""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_WORD = re.compile(r"[^a-z0-9]+")


def squad_words(text: str) -> list[str]:
    """Lower case, then without punctuation, then without articles (Rajpurkar et al., SQuAD, EMNLP 2016; its evaluate-v1.1.py)."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def exact_match(answer: str, gold: str) -> float:
    """1.0 when both have the same `squad_words` in the same order, else 0.0 (Rajpurkar et al. 2016)."""
    return float(squad_words(answer) == squad_words(gold))


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the `squad_words`, in [0, 1] (Rajpurkar et al. 2016)."""
    given, wanted = squad_words(answer), squad_words(gold)
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))


def rouge_l(answer: str, gold: str) -> float:
    """F1 of the longest common subsequence of words, in [0, 1] (Lin, ROUGE, ACL 2004 workshop, section 3.1, with β = 1).

    Words are runs of letters and digits, not stemmed, as in the rouge-score package, with which it agrees.
    """
    given, wanted = (_NO_WORD.sub(" ", text.lower()).split() for text in (answer, gold))
    common = _longest_common(given, wanted)
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def _longest_common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence, in O(len(one) · len(other)) time and one row of memory."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, against in enumerate(other, 1):
            above = row[place]
            row[place] = diagonal + 1 if word == against else max(above, row[place - 1])
            diagonal = above
    return row[-1]
