"""The plain prompt format that small models follow, and the prompt of the answering model.

The format that asks is the one that writes the training rows, so that a model is trained on exactly the prompt it is asked with.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from csift.hashing import content_id
from csift.interfaces import Messages
from csift.textmatch import REFUSAL

FORMAT_VERSION = "plain-1"


@lru_cache(maxsize=1)
def plain_adapter() -> Any:
    """A dspy.Adapter for models too small for DSPy's field markers: one `Label: value` line an input, the bare answer as
    output."""
    import dspy

    class PlainAdapter(dspy.Adapter):
        def format_system_message(self, signature: Any) -> str:
            return signature.instructions

        def format_user_message_content(
            self, signature: Any, inputs: dict[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
        ) -> str:
            lines = [
                f"{name.replace('_', ' ').capitalize()}: {inputs[name]}" for name in signature.input_fields if name in inputs
            ]
            return "\n".join(lines)

        def format_assistant_message_content(
            self, signature: Any, outputs: dict[str, Any], missing_field_message: str | None = None
        ) -> str:
            return str(outputs[next(iter(signature.output_fields))])

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            return {next(iter(signature.output_fields)): completion.strip()}

    return PlainAdapter()


@lru_cache(maxsize=1)
def answer_signature() -> Any:
    """The task of the answering model."""
    import dspy

    class AnswerFromExcerpts(dspy.Signature):
        excerpts: str = dspy.InputField()
        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

    return AnswerFromExcerpts.with_instructions(
        "Answer the question from the excerpts. Reply with the answer only, in as few words as possible. "
        f"If the excerpts do not answer it, reply: {REFUSAL}"
    )


def signature_hash(signature: Any) -> str:
    """Hash of a prompt: its instructions, fields and format."""
    return content_id(
        "prompt", [FORMAT_VERSION, signature.instructions, list(signature.input_fields), list(signature.output_fields)]
    )


def join_excerpts(contexts: Sequence[str]) -> str:
    """Chunk texts (best first) as the model sees them: one a line, the best last, next to the question, where small models
    look."""
    return "\n".join(f"- {context}" for context in reversed(contexts))


def answer_prompt(question: str, contexts: Sequence[str]) -> Messages:
    """The chat that the standard program sends for a question with these chunks; training rows are made of it."""
    inputs = {"excerpts": join_excerpts(contexts), "question": question}
    return plain_adapter().format(answer_signature(), [], inputs)
