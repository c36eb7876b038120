"""What passes between the steps of synthesis."""

from csift.hashing import content_id
from csift.schemas import Example, Record, Rejection, Style

CARRIED = "read"  # the step of a person's question asked of another document: only its answer is the model's


class Demonstration(Record):
    """A pair that is shown to a teacher as an example; `answer` is None where the documents do not say."""

    question: str
    answer: str | None


class Assignment(Record):
    """What a teacher is to write at once: `count` questions about these chunks, in one round.

    `offset` candidates of the same chunks were tried in earlier rounds; `covered` are questions that are accepted already.
    """

    id: str
    chunk_ids: tuple[str, ...]
    count: int
    offset: int
    demonstrations: tuple[Demonstration, ...]
    covered: tuple[str, ...]
    seed: int

    @classmethod
    def of(
        cls,
        chunk_ids: tuple[str, ...],
        count: int,
        offset: int,
        demonstrations: tuple[Demonstration, ...],
        covered: tuple[str, ...],
        seed: int,
    ) -> "Assignment":
        """The assignment with its content id."""
        told = [chunk_ids, count, offset, [d.model_dump() for d in demonstrations], covered, seed]
        id_ = content_id("assignment", told)
        return cls(
            id=id_,
            chunk_ids=chunk_ids,
            count=count,
            offset=offset,
            demonstrations=demonstrations,
            covered=covered,
            seed=seed,
        )


class Candidate(Record):
    """A written pair before or behind the filters; `chunk_ids` hold its answer; `step` names the prompt that wrote it."""

    question: str
    answer: str
    style: Style
    document_id: str
    chunk_ids: tuple[str, ...]
    step: str

    def rejected(self, reason: str, detail: str = "") -> Rejection:
        """This candidate with the filter that refused it."""
        return Rejection(
            reason=reason, question=self.question, answer=self.answer, document_id=self.document_id, detail=detail[:300]
        )

    def example(self, teacher: str, prompt_hash: str) -> Example:
        """As a synthetic training example, without the chunks that will be shown beside it."""
        return Example(
            id=content_id("example", [self.question, self.answer, self.chunk_ids]),
            question=self.question,
            answer=self.answer,
            document_id=self.document_id,
            style=self.style,
            gold_chunk_ids=self.chunk_ids,
            context_chunk_ids=(),
            source="synthetic",
            generator=teacher,
            prompt_hash=prompt_hash,
        )


class Drafts(Record):
    """What came of an assignment: candidates that passed the teacher's own checks, and the others with why."""

    written: int
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]


class SynthesisResult(Record):
    """Accepted examples, and what became of the other candidates."""

    teacher: str
    examples: tuple[Example, ...]
    candidates: int
    rejections: tuple[Rejection, ...]
