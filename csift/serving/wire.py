"""What goes over the wire: OpenAI's chat completions, models and embeddings, and csift's feedback."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from csift.schemas import Hit, ServedAnswer

LONGEST = 8_000  # characters of a question
NO_NUL = r"^[^\x00]*$"  # which Postgres cannot keep
Text = Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=NO_NUL)]
Name = Annotated[str, Field(max_length=200, pattern=NO_NUL)]


class Part(BaseModel):
    """A part of a message; csift reads text."""

    type: Literal["text"]
    text: str = Field(max_length=LONGEST)


class Message(BaseModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=LONGEST)] | Annotated[list[Part], Field(max_length=64)]

    @property
    def text(self) -> str:
        """Its parts, joined."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """Of a streamed answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request. The last user message is the question. How the champion writes is fixed, since it was judged so:
    sampling parameters are accepted and change nothing."""

    model_config = ConfigDict(extra="allow")

    model: Name
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    user: Name | None = None


class EmbeddingRequest(BaseModel):
    """OpenAI's request for embeddings, with the project's embedder."""

    model: Name
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=256)]
    encoding_format: Literal["float", "base64"] = "float"


class FeedbackRequest(BaseModel):
    """What one person says of an answer that they got, or how they rank several answers to one question."""

    model_config = ConfigDict(extra="forbid")

    answer_id: Name | None = None
    ranking: Annotated[list[Name], Field(min_length=2, max_length=20)] | None = Field(
        None, description="Ids of answers to one question, best first, in place of answer_id"
    )
    thumb: Literal["up", "down"] | None = None
    rating: int | None = Field(None, ge=1, le=5, strict=True)
    comment: Text | None = None
    edited_answer: Text | None = None
    rater: Text | None = Field(None, description="Tells the people behind one key apart")

    @model_validator(mode="after")
    def _of_one_or_several(self) -> "FeedbackRequest":
        if (self.answer_id is None) == (self.ranking is None):
            raise ValueError("name one answer with answer_id, or several with ranking")
        if self.ranking and any(said is not None for said in (self.thumb, self.rating, self.edited_answer)):
            raise ValueError("a ranking stands alone; say the rest of one answer, in a request of its own")
        return self

    @property
    def about(self) -> list[str]:
        """The ids of the answers."""
        return self.ranking or [str(self.answer_id)]


class ProblemDetail(BaseModel):
    """Why a request got no answer."""

    message: str
    type: str
    code: str
    param: str | None


class Problem(BaseModel):
    """OpenAI's error."""

    error: ProblemDetail


def completion(answer: ServedAnswer) -> dict[str, Any]:
    """The answer as OpenAI's chat completion, with csift's own part: what answered, from which sources."""
    message = {"role": "assistant", "content": answer.answer, "refusal": None}
    return {
        **_head(answer, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}],
        "usage": _usage(answer),
        "csift": _told(answer),
    }


def events(answer: ServedAnswer, usage: bool) -> Iterator[str]:
    """The answer as server-sent events, a word a chunk; the sources come with the last."""
    head = _head(answer, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'choices': [choice], **more}, ensure_ascii=False)}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for word in re.findall(r"\s*\S+|\s+$", answer.answer):
        yield chunk({"content": word})
    yield chunk({}, answer.finish, csift=_told(answer))
    if usage:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage(answer)})}\n\n"
    yield "data: [DONE]\n\n"


def _head(answer: ServedAnswer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": int(answer.at.timestamp()), "model": answer.system_id}


def _usage(answer: ServedAnswer) -> dict[str, int]:
    total = answer.tokens_in + answer.tokens_out
    return {"prompt_tokens": answer.tokens_in, "completion_tokens": answer.tokens_out, "total_tokens": total}


def _told(answer: ServedAnswer) -> dict[str, Any]:
    return {
        "answer_id": answer.id,
        "system": answer.system_id,
        "adapter": answer.adapter_id,
        "sources": [source(hit) for hit in answer.sources],
    }


def source(hit: Hit) -> dict[str, Any]:
    """A chunk as people see it."""
    return {"document": hit.document_id, "chunk": hit.chunk_id, "text": hit.text, "score": round(hit.score, 4)}
