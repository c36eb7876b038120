"""Who writes what: the chunks of a corpus dealt out as assignments, round by round."""

import random
from collections.abc import Sequence

from csift.config import SynthesisConfig
from csift.hashing import sha256
from csift.schemas import Chunk, Label
from csift.synthesis.checks import verbatim
from csift.synthesis.drafts import Assignment, Candidate, Demonstration

WINDOW = 6000  # characters of one document that a served teacher sees at once
COVERED = 20  # questions of a document that it is shown as covered
BATCH = 32  # questions that the local teacher is given at once, so that its batches are full


def deal_windows(
    chunks: Sequence[Chunk], config: SynthesisConfig, number: int, labels: Sequence[Label], accepted: Sequence[Candidate]
) -> list[Assignment]:
    """Round `number` (from 0) for a served teacher: a stretch of one document each, `pairs_per_document` pairs about it.

    The stretches are drawn evenly over the documents; when there are fewer than the round needs, further rounds return to them.
    """
    windows = _windows(chunks, config.seed)
    share = _share(config, number)
    calls = -(-share // config.pairs_per_document)
    begun = sum(-(-_share(config, earlier) // config.pairs_per_document) for earlier in range(number))
    assignments = []
    for turn in range(min(calls, len(windows))):
        window = windows[(begun + turn) % len(windows)]
        draw = random.Random(f"{config.seed} {number} {window[0].id}")
        count = min(config.pairs_per_document, share - turn * config.pairs_per_document)
        covered = [c.question for c in accepted if c.document_id == window[0].document_id]
        assignments.append(
            Assignment.of(
                chunk_ids=tuple(chunk.id for chunk in window),
                count=count,
                offset=0,
                demonstrations=_demonstrations(labels, accepted, config.demonstrations, draw),
                covered=tuple(covered[-COVERED:]),
                seed=draw.randrange(2**31),
            )
        )
    return assignments


def deal_spans(chunks: Sequence[Chunk], config: SynthesisConfig, number: int) -> list[Assignment]:
    """Round `number` for a local teacher: the chunks in drawn groups, each with its share of the questions. A tuned local teacher
    needs no demonstrations."""
    share = _share(config, number)
    begun = sum(_share(config, earlier) for earlier in range(number))
    groups = max(1, min(-(-config.candidates // config.rounds // BATCH), len(chunks)))
    order = sorted(chunks, key=lambda chunk: sha256(f"{config.seed} {chunk.id}"))
    assignments = []
    for group in range(groups):
        counts = [len(range(group, total, groups)) for total in (begun, begun + share)]
        if counts[1] > counts[0]:
            assignments.append(
                Assignment.of(
                    chunk_ids=tuple(chunk.id for chunk in order[group::groups]),
                    count=counts[1] - counts[0],
                    offset=counts[0],
                    demonstrations=(),
                    covered=(),
                    seed=config.seed,
                )
            )
    return assignments


def _share(config: SynthesisConfig, number: int) -> int:
    """Candidates of round `number`; they add up to `config.candidates`."""
    return len(range(number, config.candidates, config.rounds))


def _windows(chunks: Sequence[Chunk], seed: int) -> list[list[Chunk]]:
    """Stretches of at most WINDOW characters, first one of each document, then a second of each, and so on."""
    by_document: dict[str, list[list[Chunk]]] = {}
    for chunk in chunks:
        windows = by_document.setdefault(chunk.document_id, [[]])
        if windows[-1] and sum(len(other.text) for other in windows[-1]) + len(chunk.text) > WINDOW:
            windows.append([])
        windows[-1].append(chunk)
    draw = random.Random(seed)
    for document in sorted(by_document):
        draw.shuffle(by_document[document])
    order = sorted(by_document)
    draw.shuffle(order)
    longest = max((len(windows) for windows in by_document.values()), default=0)
    return [by_document[document][turn] for turn in range(longest) for document in order if turn < len(by_document[document])]


def _demonstrations(
    labels: Sequence[Label], accepted: Sequence[Candidate], count: int, draw: random.Random
) -> tuple[Demonstration, ...]:
    """Half of them people's, half accepted ones, where there are that many."""
    own = min(len(accepted), count // 2)
    people = draw.sample(list(labels), min(count - own, len(labels)))
    written = draw.sample(list(accepted), min(count - len(people), len(accepted)))
    pairs = [(label.question, label.answer) for label in people] + [(pair.question, pair.answer) for pair in written]
    return tuple(Demonstration(question=question, answer=answer) for question, answer in pairs)


def draw_labels(labels: Sequence[Label], chunks: Sequence[Chunk], count: int, seed: int) -> list[Candidate]:
    """At most `count` of people's factoid and list questions with the chunk of their document that holds the answer."""
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    found = []
    for label in sorted(labels, key=lambda label: sha256(f"{seed} {label.id}")):
        if label.answer is None or label.style not in ("factoid", "list"):
            continue
        candidate = Candidate(
            question=label.question,
            answer=label.answer,
            style=label.style,
            document_id=label.document_id,
            chunk_ids=(),
            step="reword",
        )
        for chunk in by_document.get(label.document_id, []):
            held = candidate.model_copy(update={"chunk_ids": (chunk.id,)})
            if verbatim(held, {chunk.id: chunk}):
                found.append(held)
                break
        if len(found) >= count:
            break
    return found[:count]
