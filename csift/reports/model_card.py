"""The model card of an exported model: what it is made of, how it was judged, under what terms (Mitchell et al., "Model Cards for
Model Reporting", FAccT 2019; front matter as huggingface.co/docs/hub/model-cards)."""

from collections.abc import Sequence

import yaml

from csift.reports.wording import count, points_interval
from csift.schemas import Adapter, CorpusSnapshot, DatasetVersion, PromotionDecision


def model_card(
    adapter: Adapter,
    dataset: DatasetVersion,
    snapshot: CorpusSnapshot,
    decisions: Sequence[PromotionDecision],
    licence: str | None,
    version: str,
) -> str:
    """The card as Markdown. `decisions` are those on Systems with the adapter, `licence` is the base's, where it is known."""
    head = {"license": licence or "unknown", "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["csift"]}
    if "/" in adapter.base_model and not adapter.base_model.startswith(("/", ".", "~")):
        head["base_model"] = adapter.base_model  # of the hub, which a folder or a bundled model is not
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False).strip()}\n---",
        f"# {adapter.id}",
        f"`{adapter.base_model}`, revision `{adapter.base_revision}`, with the LoRA adapter `{adapter.id}` merged into its "
        f"weights by csift {version}. It answers questions from excerpts, in the chat form that the project's programs write; "
        "asked otherwise, it was not judged.",
        "## Made from",
        _lineage(adapter, dataset, snapshot),
        "## Judged",
        "\n".join(_judged(decision) for decision in decisions) or "No decision was made on it.",
        "## Terms",
        _terms(adapter, snapshot, licence),
    ]
    return "\n\n".join(parts) + "\n"


def _lineage(adapter: Adapter, dataset: DatasetVersion, snapshot: CorpusSnapshot) -> str:
    sources = ", ".join(f"{number:,} {source}" for source, number in sorted(dataset.sources.items()))
    rows = {
        "Stages": ", ".join(adapter.stages),
        "Training configuration": f"`{adapter.config_hash}`",
        "Dataset": f"`{dataset.id}`: {sources or 'no rows'}",
        "Corpus": f"`{snapshot.id}`: {count(len(snapshot.documents), 'document')}",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _judged(decision: PromotionDecision) -> str:
    told = f"difference to the champion {points_interval(decision.difference)} points"
    return f"- `{decision.id}`: {decision.verdict}, {told}. Replay: `csift decide --replay {decision.id}`"


def _terms(adapter: Adapter, snapshot: CorpusSnapshot, licence: str | None) -> str:
    base = (
        f"The base, {adapter.base_model}, is licensed {licence}; its terms hold for this model, too."
        if licence
        else f"Nothing beside {adapter.base_model} says under what licence it is: find that out before you pass this model on."
    )
    sources = [source for source in snapshot.sources if source.may_train]
    taught = "; ".join(f"{source.name or source.location}: {source.licence}" for source in sources)
    return f"{base}\n\nDocuments that it may have learnt from: {taught or 'unstated'}."
