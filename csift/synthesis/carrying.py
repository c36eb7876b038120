"""People's questions asked of other documents: what is asked of two contracts is asked of every contract.

Only questions that people asked of several documents are carried over; one that names its subject is asked of one only. The
document is searched for the sentence most like those that answered the question before, and the model reads its answer there.
Self-training (Yarowsky, ACL 1995) with a person's evidence as the filter.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csift.interfaces import Embedder
from csift.schemas import Chunk, Label
from csift.synthesis.checks import contains
from csift.synthesis.spans import CODE, DATE, QUANTITY, sentences
from csift.textmatch import normalise

ASKED_OF = 2  # documents that a question must have been asked of by people
SIMILAR = 0.5  # cosine with a person's evidence; on CUAD 14 of the 17 answers from 0.5 up that people had labelled were theirs
NEAREST = 3  # chunks of a document that are looked through, by question, by evidence and by the chunk that held it


@dataclass(frozen=True)
class Evidence:
    """A person's question with the sentence and the chunk of its document that hold the answer."""

    question: str
    answer: str
    sentence: str
    chunk: Chunk


@dataclass(frozen=True)
class Carried:
    """A question for another document, and where the answer should stand: a sentence of a chunk like that of the evidence."""

    question: str
    chunk: Chunk
    sentence: str
    like: str  # the answer in the evidence

    def fits(self, answer: str) -> bool:
        """Whether an answer stands in the sentence and is of the kind that the evidence's is."""
        return contains(self.sentence, answer) and kind(answer) == kind(self.like)


def carry(labels: Sequence[Label], chunks: Sequence[Chunk], embedder: Embedder) -> list[Carried]:
    """Each question that people asked of several documents, for each other document that has a sentence like their evidence."""
    known = _evidence(labels, chunks)
    if not known:
        return []
    asked = {(normalise(label.question), label.document_id) for label in labels}
    documents: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        documents[chunk.document_id].append(chunk)
    flat = [evidence for group in known for evidence in group]
    probes = [embedder.embed([told(e) for e in flat]) for told in (_question, _sentence, _chunk)]
    found = []
    for document, members in sorted(documents.items()):
        vectors = embedder.embed([chunk.text for chunk in members])
        start = 0
        for group in known:
            part = slice(start, start + len(group))
            start += len(group)
            if (normalise(group[0].question), document) in asked:
                continue
            best = _best(group, members, vectors, [probe[part] for probe in probes], embedder)
            if best is not None:
                found.append(best)
    return found


def kind(answer: str) -> str:
    """What sort of thing an answer is, by its look."""
    for name, pattern in (("date", DATE), ("quantity", QUANTITY), ("code", CODE)):
        if pattern.search(answer):
            return name
    return "name" if re.search(r"[A-Z][\w&'’-]", answer) else "words"


def _evidence(labels: Sequence[Label], chunks: Sequence[Chunk]) -> list[list[Evidence]]:
    """Evidence grouped by question, of questions asked of several documents."""
    documents: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        documents[chunk.document_id].append(chunk)
    groups: dict[str, list[Evidence]] = defaultdict(list)
    asked: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        if label.style != "factoid" or label.answer is None:
            continue
        asked[normalise(label.question)].add(label.document_id)
        for chunk in documents.get(label.document_id, []):
            sentence = next((part for part in sentences(chunk.text) if contains(part, label.answer)), None)
            if sentence:
                groups[normalise(label.question)].append(Evidence(label.question, label.answer, sentence, chunk))
                break
    return [groups[question] for question in sorted(groups) if len(asked[question]) >= ASKED_OF]


def _best(
    group: Sequence[Evidence],
    chunks: Sequence[Chunk],
    vectors: NDArray[np.float32],
    probes: Sequence[NDArray[np.float32]],
    embedder: Embedder,
) -> Carried | None:
    """The document's sentence that is most like any of the evidence, if it is alike enough."""
    near = sorted({int(i) for probe in probes for row in probe for i in np.argsort(-(vectors @ row), kind="stable")[:NEAREST]})
    parts = [(chunks[i], sentence) for i in near for sentence in sentences(chunks[i].text)]
    if not parts:
        return None
    likeness = embedder.embed([sentence for _, sentence in parts]) @ probes[1].T
    place, which = (int(i) for i in np.unravel_index(int(np.argmax(likeness)), likeness.shape))
    if likeness[place, which] < SIMILAR:
        return None
    chunk, sentence = parts[place]
    return Carried(group[which].question, chunk, sentence, group[which].answer)


def _question(evidence: Evidence) -> str:
    return evidence.question


def _sentence(evidence: Evidence) -> str:
    return evidence.sentence


def _chunk(evidence: Evidence) -> str:
    return evidence.chunk.text
