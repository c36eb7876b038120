"""What an optimiser may see: training questions, and nothing of an eval or golden set."""

from collections.abc import Sequence

from csift.exceptions import LabelError
from csift.schemas import EvalSet, Label

NAMED = 5  # ids in the message; more are counted


def refuse_held_out(labels: Sequence[Label], *evalsets: EvalSet) -> None:
    """Holds training labels against frozen sets.

    Raises:
        LabelError: a label is not of the train split, or stands in one of the sets: by its id, its document, or its question and
            answer word for word; names the ids.
    """
    ids = {item.id for set_ in evalsets for item in set_.items}
    documents = {item.document_id for set_ in evalsets for item in set_.items}
    asked = {_plain(item.question, item.answer) for set_ in evalsets for item in set_.items}
    caught = [
        label.id
        for label in labels
        if label.split != "train"
        or label.id in ids
        or label.document_id in documents
        or _plain(label.question, label.answer) in asked
    ]
    if caught:
        more = f" and {len(caught) - NAMED} more" if len(caught) > NAMED else ""
        raise LabelError(
            f"{', '.join(caught[:NAMED])}{more} of {len(labels)} questions to compile on belong to a set that is judged on, by "
            "question or document; give the optimiser questions of the train split only"
        )


def _plain(question: str, answer: str | None) -> tuple[str, str | None]:
    """Contracts are asked the same questions; what gives one away is its answer."""
    return " ".join(question.lower().split()), None if answer is None else " ".join(answer.lower().split())
