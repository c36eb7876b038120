"""The filters that look at one candidate: first those that cost nothing, then those that ask the teacher.

Grounding: the answer stands in its chunks word for word, or the teacher says that they support it. Round trip: asked again
with the chunks alone, the teacher gives the same answer (Alberti et al., Synthetic QA Corpora Generation with Roundtrip
Consistency, ACL 2019).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from csift.prompts import answer_signature, join_excerpts
from csift.schemas import Chunk
from csift.synthesis import signatures
from csift.synthesis.drafts import Candidate
from csift.textmatch import REFUSAL, is_refusal, normalise, polarity, token_f1

QUESTION_WORDS = (4, 40)
ANSWER_WORDS = 60
SAME_ANSWER = 0.6  # token F1 from which two answers say the same
FOREIGN = 0.8  # confidence from which a question is in another language than its chunk; none of 577 English ones is
LANGUAGE_CHARACTERS = 40  # shorter questions are too short to tell
OUTSIDE = re.compile(
    r"\b(?:passages?|excerpts?"
    r"|(?:this|the) (?:text|document|paragraph|section) (?:above|below|says|states|mentions?|provided|given))\b",
    re.IGNORECASE,
)


def unfit(candidate: Candidate, chunks: Mapping[str, Chunk]) -> tuple[str, str]:
    """(reason, detail) why a candidate is refused before anybody is asked, or two empty strings."""
    question, answer = candidate.question, candidate.answer
    words = len(question.split())
    if not question.endswith(("?", "？")):
        return "format", "not a question"
    if OUTSIDE.search(question):
        return "format", "speaks of the passage"
    if not QUESTION_WORDS[0] <= words <= QUESTION_WORDS[1]:
        return "length", f"a question of {words} words"
    if not answer or len(answer.split()) > ANSWER_WORDS:
        return "length", f"an answer of {len(answer.split())} words"
    if candidate.style not in ("yes_no", "unanswerable") and contains(question, answer):
        return "gives the answer away", ""
    if candidate.style == "yes_no" and answer not in ("Yes", "No"):
        return "format", "neither Yes nor No"
    if candidate.style == "multi_chunk" and len(candidate.chunk_ids) < 2:
        return "format", "a multi-chunk question about one chunk"
    text = " ".join(chunks[id_].text for id_ in candidate.chunk_ids)
    if foreign := other_language(question, text):
        return "language", foreign
    return "", ""


def other_language(question: str, text: str) -> str:
    """The question's language where it clearly is not that of the text, else nothing (langid: Lui and Baldwin, ACL 2012)."""
    if len(question) < LANGUAGE_CHARACTERS:
        return ""
    language, _ = _languages().classify(text)
    asked, confidence = _languages().classify(question)
    return asked if asked != language and confidence >= FOREIGN else ""


@lru_cache(maxsize=1)
def _languages() -> Any:
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def contains(text: str, answer: str) -> bool:
    """Whether the answer's normalised words stand together in the text."""
    return bool(normalise(answer)) and f" {normalise(answer)} " in f" {normalise(text)} "


def same_answer(question: str, gold: str, answer: str) -> bool:
    """Whether two answers to a question say the same."""
    if gold == REFUSAL or is_refusal(answer):
        return gold == REFUSAL and is_refusal(answer)
    if gold in ("Yes", "No"):
        return polarity(answer, question) == (gold == "Yes")
    return contains(answer, gold) or token_f1(answer, gold) >= SAME_ANSWER


def verbatim(candidate: Candidate, chunks: Mapping[str, Chunk]) -> bool:
    """Whether the answer stands in its chunks: a list's items one by one, anything else whole."""
    text = " ".join(chunks[id_].text for id_ in candidate.chunk_ids)
    if candidate.style == "list":
        items = [item for item in re.split(r",\s+(?:and\s+)?|\s+and\s+|;\s+", candidate.answer) if item.strip()]
        return all(contains(text, item) for item in items)
    return contains(text, candidate.answer)


def read_again(candidate: Candidate, chunks: Mapping[str, Chunk]) -> tuple[str, str]:
    """The round trip, inside a model's `map`: (reason, detail), empty where the answer is found again."""
    import dspy

    excerpts = join_excerpts([chunks[id_].text for id_ in candidate.chunk_ids])
    answer = dspy.Predict(answer_signature())(excerpts=excerpts, question=candidate.question, config={"temperature": 0.0}).answer
    return ("", "") if same_answer(candidate.question, candidate.answer, answer) else ("round trip", answer)


def judged(candidate: Candidate, chunks: Mapping[str, Chunk], min_rating: int) -> tuple[str, str]:
    """What a served teacher thinks of a candidate, inside its `map`: (reason, detail), empty where it may stay."""
    import dspy

    cold: dict[str, Any] = {"config": {"temperature": 0.0}}
    shown = {
        "passages": join_excerpts([chunks[id_].text for id_ in candidate.chunk_ids]),
        "question": candidate.question,
        "answer": candidate.answer,
    }
    sure = candidate.style == "unanswerable" or verbatim(candidate, chunks)
    if not (sure or dspy.Predict(signatures.check_grounding())(**shown, **cold).supported):
        return "not grounded", "neither word for word in the chunk nor supported by it"
    rating = dspy.Predict(signatures.rate_question())(**shown, **cold).rating
    if rating < min_rating:
        return "rating", f"{rating} of 5"
    if candidate.style not in ("yes_no", "unanswerable"):
        guess = dspy.Predict(signatures.recall())(question=candidate.question, **cold).answer
        if same_answer(candidate.question, candidate.answer, guess):
            return "trivial", "answered without the documents"
    return read_again(candidate, chunks)
