"""How a teacher writes: a served model several pairs about a document at once, the local one a question for each chosen span.

Self-instruct (Wang et al., ACL 2023): each round is shown human and accepted pairs and asked for what is not covered yet.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from csift.config import SynthesisConfig
from csift.interfaces import Embedder
from csift.llm import LanguageModel
from csift.prompts import answer_signature, join_excerpts
from csift.schemas import STYLES, Chunk, Failure, Label, Rejection, Style
from csift.synthesis import signatures
from csift.synthesis.carrying import Carried, carry
from csift.synthesis.checks import judged, read_again, unfit, verbatim
from csift.synthesis.drafts import CARRIED, Assignment, Candidate, Demonstration, Drafts
from csift.synthesis.rounds import deal_spans, deal_windows, draw_labels
from csift.synthesis.spans import Passage, passages
from csift.textmatch import REFUSAL, token_f1

QUESTION_TOKENS = 48
SAME_WORDS = 0.8  # token F1 with the original from which a reworded question is none


class Writer(Protocol):
    """A teacher with its way of writing. `id` names the model in records, `at_once` is how many assignments it takes."""

    id: str
    at_once: int

    def reword(self, labels: Sequence[Label], chunks: Sequence[Chunk], config: SynthesisConfig) -> Drafts:
        """People's questions in other words or of other documents, at most `config.paraphrases` of the candidates."""
        ...

    def deal(
        self,
        chunks: Sequence[Chunk],
        config: SynthesisConfig,
        number: int,
        labels: Sequence[Label],
        accepted: Sequence[Candidate],
    ) -> list[Assignment]:
        """The assignments of round `number`, from 0."""
        ...

    def write(self, assignment: Assignment, chunks: Mapping[str, Chunk]) -> Drafts:
        """Writes and checks; `chunks` holds at least those of the assignment. Raises what `LanguageModel.map` raises."""
        ...


class SpanWriter:
    """A local teacher: a span is chosen, the model asks for it, and must find it again in the whole chunk."""

    at_once = 1  # one model, whose batches the assignments fill

    def __init__(self, model: LanguageModel, embedder: Embedder) -> None:
        self.id = model.id
        self._model = model
        self._embedder = embedder

    def reword(self, labels: Sequence[Label], chunks: Sequence[Chunk], config: SynthesisConfig) -> Drafts:
        """In their own words, of other documents: a model of this size that rewords changes what is asked."""
        import dspy

        read = dspy.Predict(answer_signature())
        drawn = carry(labels, chunks, self._embedder)[: round(config.paraphrases * config.candidates)]

        def answer(carried: Carried) -> Candidate | Rejection:
            excerpts = join_excerpts([carried.chunk.text])
            found = read(excerpts=excerpts, question=carried.question, config={"temperature": 0.0}).answer
            candidate = Candidate(
                question=carried.question,
                answer=found,
                style="factoid",
                document_id=carried.chunk.document_id,
                chunk_ids=(carried.chunk.id,),
                step=CARRIED,
            )
            if not carried.fits(found):
                return candidate.rejected("unlike people's evidence", carried.sentence)
            return candidate

        outcomes = [
            _told(outcome, carried.chunk.document_id) if isinstance(outcome, Failure) else outcome
            for outcome, carried in zip(self._model.map(answer, drawn), drawn, strict=True)
        ]
        return _drafts(len(drawn), outcomes)

    def deal(
        self,
        chunks: Sequence[Chunk],
        config: SynthesisConfig,
        number: int,
        labels: Sequence[Label],
        accepted: Sequence[Candidate],
    ) -> list[Assignment]:
        """Chunks in groups; a tuned model needs no demonstrations."""
        return deal_spans(chunks, config, number)

    def write(self, assignment: Assignment, chunks: Mapping[str, Chunk]) -> Drafts:
        """`count` questions for spans of the chunks, from number `offset` on in their drawn order."""
        import dspy

        mine = {id_: chunks[id_] for id_ in assignment.chunk_ids}
        wanted = assignment.offset + assignment.count
        chosen = passages(list(mine.values()), wanted, assignment.seed)[assignment.offset :]
        ask = dspy.Predict(signatures.ask_for_answer())

        def write(passage: Passage) -> Candidate | Rejection:
            asked = ask(passage=passage.marked, answer=passage.answer, config={"max_tokens": QUESTION_TOKENS})
            candidate = Candidate(
                question=asked.question.partition("\n")[0].strip(),
                answer=passage.answer,
                style="factoid",
                document_id=passage.chunk.document_id,
                chunk_ids=(passage.chunk.id,),
                step="ask",
            )
            reason, detail = unfit(candidate, mine)
            if not reason:
                reason, detail = read_again(candidate, mine)
            return candidate.rejected(reason, detail) if reason else candidate

        outcomes = [
            _told(outcome, passage.chunk.document_id) if isinstance(outcome, Failure) else outcome
            for outcome, passage in zip(self._model.map(write, chosen), chosen, strict=True)
        ]
        return _drafts(len(chosen), outcomes)


class PairWriter:
    """A served teacher: k pairs about the passages of a document, on different topics and in different styles."""

    def __init__(self, model: LanguageModel, styles: Sequence[Style], min_rating: int, at_once: int) -> None:
        self.id = model.id
        self.at_once = at_once
        self._model = model
        self._styles = tuple(style for style in STYLES if style in styles)
        self._min_rating = min_rating

    def reword(self, labels: Sequence[Label], chunks: Sequence[Chunk], config: SynthesisConfig) -> Drafts:
        """Labels whose answer stands in a chunk, drawn, each asked for once."""
        drawn = draw_labels(labels, chunks, round(config.paraphrases * config.candidates), config.seed)
        by_id = {chunk.id: chunk for chunk in chunks}

        def reword(original: Candidate) -> Candidate | Rejection:
            import dspy

            passages = by_id[original.chunk_ids[0]].text
            told = dspy.Predict(signatures.reword())(question=original.question, answer=original.answer, passages=passages)
            candidate = original.model_copy(update={"question": told.reworded.strip()})
            if token_f1(candidate.question, original.question) > SAME_WORDS:
                return candidate.rejected("near duplicate", original.question)
            return self._check(candidate, by_id)

        outcomes = self._model.map(reword, drawn)
        return _drafts(
            len(drawn),
            [o if not isinstance(o, Failure) else c.rejected(o.kind, o.message) for c, o in zip(drawn, outcomes, strict=True)],
        )

    def deal(
        self,
        chunks: Sequence[Chunk],
        config: SynthesisConfig,
        number: int,
        labels: Sequence[Label],
        accepted: Sequence[Candidate],
    ) -> list[Assignment]:
        """A stretch of a document each."""
        return deal_windows(chunks, config, number, labels, accepted)

    def write(self, assignment: Assignment, chunks: Mapping[str, Chunk]) -> Drafts:
        """`count` pairs about the chunks, all of one document; fewer or more are taken as they come."""
        mine = {id_: chunks[id_] for id_ in assignment.chunk_ids}
        document = mine[assignment.chunk_ids[0]].document_id
        (pairs,) = self._model.map(lambda one: self._ask(one, mine), [assignment])
        if isinstance(pairs, Failure):
            return _drafts(assignment.count, [_told(pairs, document)] * assignment.count)
        written = [self._candidate(pair, list(mine.values())) for pair in pairs]
        outcomes = self._model.map(lambda candidate: self._check(candidate, mine), written)
        missing = [_told(Failure(kind="missing", message=f"{len(pairs)} pairs instead of {assignment.count}"), document)]
        told = [
            candidate.rejected(outcome.kind, outcome.message) if isinstance(outcome, Failure) else outcome
            for candidate, outcome in zip(written, outcomes, strict=True)
        ]
        return _drafts(max(len(pairs), assignment.count), [*told, *missing * (assignment.count - len(pairs))])

    def _ask(self, assignment: Assignment, chunks: Mapping[str, Chunk]) -> list[signatures.WrittenPair]:
        import dspy

        shares = [(style, assignment.count // len(self._styles)) for style in self._styles]
        spare = assignment.count - sum(number for _, number in shares)
        start = assignment.seed % len(self._styles)
        turns = [self._styles[(start + turn) % len(self._styles)] for turn in range(spare)]
        wanted = [f"{number + turns.count(style)} {style}" for style, number in shares if number + turns.count(style)]
        return list(
            dspy.Predict(signatures.write_pairs())(
                passages="\n".join(f"[{number}] {chunk.text}" for number, chunk in enumerate(chunks.values(), 1)),
                count=assignment.count,
                styles=", ".join(wanted),
                examples=_shown(assignment.demonstrations),
                covered="\n".join(assignment.covered) or "none",
                config={"seed": assignment.seed},
            ).pairs
        )

    @staticmethod
    def _candidate(pair: signatures.WrittenPair, chunks: list[Chunk]) -> Candidate:
        """The written pair; where the teacher names the wrong passages, those that hold the answer are taken."""
        answer = REFUSAL if pair.style == "unanswerable" else pair.answer.strip()
        if pair.style == "yes_no":
            answer = answer.strip(".").capitalize()
        named = [chunks[number - 1].id for number in pair.passages if 0 < number <= len(chunks)]
        draft = Candidate(
            question=pair.question.strip(),
            answer=answer,
            style=pair.style,
            document_id=chunks[0].document_id,
            chunk_ids=tuple(dict.fromkeys(named)),
            step="write",
        )
        by_id = {chunk.id: chunk for chunk in chunks}
        if pair.style in ("factoid", "list") and not (named and verbatim(draft, by_id)):
            holding = next((c for c in chunks if verbatim(draft.model_copy(update={"chunk_ids": (c.id,)}), by_id)), None)
            named = [holding.id] if holding else named
        kept = named or [chunk.id for chunk in chunks]
        return draft.model_copy(update={"chunk_ids": tuple(dict.fromkeys(kept))})

    def _check(self, candidate: Candidate, chunks: Mapping[str, Chunk]) -> Candidate | Rejection:
        if candidate.style not in self._styles:
            return candidate.rejected("format", f"the style {candidate.style} was not asked for")
        reason, detail = unfit(candidate, chunks)
        if not reason:
            reason, detail = judged(candidate, chunks, self._min_rating)
        return candidate.rejected(reason, detail) if reason else candidate


def _shown(demonstrations: Sequence[Demonstration]) -> str:
    pairs = [f"Q: {d.question}\nA: {d.answer if d.answer is not None else '(unanswerable)'}" for d in demonstrations]
    return "\n".join(pairs) or "none"


def _told(failure: Failure, document_id: str) -> Rejection:
    return Rejection(reason=failure.kind, question="", answer="", document_id=document_id, detail=failure.message[:300])


def _drafts(written: int, outcomes: Sequence[Candidate | Rejection]) -> Drafts:
    return Drafts(
        written=written,
        candidates=tuple(outcome for outcome in outcomes if isinstance(outcome, Candidate)),
        rejections=tuple(outcome for outcome in outcomes if isinstance(outcome, Rejection)),
    )
