"""What answers: systems, adapters, generations."""

from typing import Literal, Self

from csift.hashing import content_id
from csift.schemas.base import METHOD_OF, CustomizationKind, Method, Record


class GenerationParams(Record):
    """Greedy when temperature is 0; `max_new_tokens` in tokens."""

    max_new_tokens: int = 32
    temperature: float = 0.0
    seed: int = 0


class Generation(Record):
    """One model output; seconds is the wall time of its batch divided by the batch's size. `first_token_seconds` is how long it
    took until the first token was there, None where nobody timed it."""

    text: str
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    seconds: float
    first_token_seconds: float | None = None


class System(Record):
    """What answers: model, adapter, program, corpus and retrieval. Its hash is its id."""

    id: str
    base_model: str
    base_revision: str
    adapter_id: str | None
    program: Literal["standard", "optimised", "closed-book"]
    program_hash: str
    snapshot_id: str
    embedder: str
    k: int
    generation: GenerationParams

    @classmethod
    def of(
        cls,
        *,
        base_model: str,
        base_revision: str,
        adapter_id: str | None,
        program: str,
        program_hash: str,
        snapshot_id: str,
        embedder: str,
        k: int,
        generation: GenerationParams,
    ) -> Self:
        """The System with its content id."""
        parts = {
            "base_model": base_model,
            "base_revision": base_revision,
            "adapter_id": adapter_id,
            "program": program,
            "program_hash": program_hash,
            "snapshot_id": snapshot_id,
            "embedder": embedder,
            "k": k,
            "generation": generation.model_dump(),
        }
        return cls.model_validate({"id": content_id("system", parts), **parts})

    @property
    def custom_model(self) -> str | None:
        """The ARN of the Bedrock custom model that answers; None when a model on this machine does."""
        provider, _, arn = self.base_model.partition("/")
        return arn if provider == "bedrock" else None

    def on(self, snapshot_id: str) -> Self:
        """The same System over another corpus snapshot."""
        parts = {name: getattr(self, name) for name in type(self).model_fields if name != "id"}
        return self.of(**{**parts, "snapshot_id": snapshot_id})


class CustomModel(Record):
    """What a customization job of Amazon Bedrock made of a foundation model. `training_loss` is the last one, in nats a token,
    where Bedrock tells it."""

    arn: str
    name: str
    kind: CustomizationKind
    base_model: str
    project: str
    job_arn: str
    output_uri: str
    training_loss: float | None

    @property
    def revision(self) -> str:
        """Bedrock's own id of these weights: the end of the ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def method(self) -> Method:
        """The stage that the job counts as."""
        return METHOD_OF[self.kind]


class Teacher(Record):
    """Who writes training data: a served model, or a local one with the adapter it was tuned to write with."""

    model: str
    adapter_id: str | None

    @property
    def name(self) -> str:
        """As it stands in records."""
        return f"{self.model}+{self.adapter_id}" if self.adapter_id else self.model


class LossPoint(Record):
    """One optimiser step: mean loss (nats a token, or the method's own), learning rate (None where whoever trained does not tell
    it), tokens seen so far, 0 if not counted."""

    step: int
    loss: float
    learning_rate: float | None
    tokens: int


class StageLosses(Record):
    """The loss curve of one stage of a training run, by optimiser step; without points where none are stored."""

    method: Method
    points: tuple[LossPoint, ...]


class Adapter(Record):
    """A trained LoRA adapter. `stage_ids` are the adapters after each of `stages`, by which their losses are kept; `artifact`
    is the key of its safetensors and manifest in the ObjectStore."""

    id: str
    base_model: str
    base_revision: str
    stages: tuple[Method, ...]
    stage_ids: tuple[str, ...]
    config_hash: str
    dataset_id: str
    metrics: dict[str, float]
    artifact: str
