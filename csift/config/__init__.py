"""LoopConfig: what the loop does. Loaded from the project's TOML; the same model is the form of the Prefect UI.

Model names are here, endpoints and keys in Settings. Paths in a TOML are relative to that file.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from csift.config.base import Section
from csift.config.feedback import FeedbackConfig
from csift.config.judge import Criterion, JudgeConfig, JudgeMember
from csift.exceptions import ConfigError
from csift.schemas import GatePolicy
from csift.schemas.base import METHOD_OF, ROLE_ARN, S3_URI, STYLES, Commitment, CustomizationKind, Goal, Method, Style

__all__ = [
    "PII",
    "BedrockConfig",
    "BenchmarkConfig",
    "BudgetConfig",
    "CorpusConfig",
    "Criterion",
    "DatasetConfig",
    "DriftConfig",
    "FeedbackConfig",
    "GateConfig",
    "JudgeConfig",
    "JudgeMember",
    "LoopConfig",
    "MonitorConfig",
    "RetrievalConfig",
    "Section",
    "ServingConfig",
    "SourceConfig",
    "SynthesisConfig",
    "TeacherConfig",
    "TrainingConfig",
    "TriggerConfig",
    "absolute",
    "explain",
    "load_config",
]

PII = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "PERSON")


class SourceConfig(Section):
    """One place that documents come from, with what may be done with them."""

    location: str = Field(min_length=1, title="Folder, file or s3://bucket/prefix", description="Where the documents are")
    name: str = Field("", pattern=r"^[A-Za-z0-9._-]*$", description="Goes before the ids of its documents; empty for one source")
    format: Literal["files", "cuad"] = Field("files", description="files: one document a file or row; cuad: CUAD's own layout")
    licence: str = Field("unstated", description="Shown in the data card")
    may_train: bool = Field(True, description="Off: retrieved from, never trained on or synthesised from")


class CorpusConfig(Section):
    """Where the documents and the labelled questions are."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, title="Sources", description="Folders and S3 prefixes of documents")
    questions: tuple[Path, ...] = Field((), title="Labelled questions", description="JSONL or CSV of questions written by people")
    chunk_by: Literal["characters", "tokens", "file"] = Field("characters", description="Unit of the sizes; file: never cut")
    chunk_size: int = Field(450, ge=20, le=8000, title="Chunk size", description="Longest chunk, in units of chunk_by")
    chunk_overlap: int = Field(60, ge=0, title="Chunk overlap", description="What neighbouring chunks share, in the same units")
    scrub: tuple[str, ...] = Field(PII, title="Scrubbed", description="Kinds of personal data replaced before anything is stored")
    allow: tuple[str, ...] = Field((), description="Names and addresses that belong to the corpus and stay")
    read_seconds: int = Field(60, ge=1, description="CPU seconds that one PDF, Word or HTML file may take to be read")
    eval_share: float = Field(0.3, gt=0, lt=1, description="Share of documents kept for evaluation, where a row names no split")
    golden_share: float = Field(0.1, ge=0, lt=1, description="Share of documents kept for the golden part, likewise")

    @model_validator(mode="after")
    def _overlap_fits(self) -> "CorpusConfig":
        if self.chunk_overlap * 2 > self.chunk_size:
            raise ValueError("chunk_overlap must be at most half of chunk_size")
        if self.eval_share + self.golden_share >= 1:
            raise ValueError("eval_share and golden_share leave no documents to train on")
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("two sources have the same name; give each its own")
        return self


class RetrievalConfig(Section):
    """What is shown to the model beside a question."""

    k: int = Field(3, ge=1, le=20, title="Chunks per question", description="How many chunks the model sees")
    embedder: str = Field("minilm", description="minilm, bedrock/MODEL (a Titan), or openai/MODEL of a compatible server")
    retriever: Literal["chroma", "chroma-server", "bedrock-knowledge-base"] = Field("chroma", description="Where chunks are kept")


class TeacherConfig(Section):
    """The model that writes training data."""

    model: str = Field(
        "smollm2-135m-instruct",
        title="Teacher model",
        description="Bundled model, folder or hub name; bedrock/MODEL; openai/MODEL of any compatible server",
    )
    concurrency: int = Field(8, ge=1, le=256, description="Calls in flight at once to a served teacher")
    max_tokens: int = Field(1024, ge=16, description="Longest answer of a served teacher")
    temperature: float = Field(0.7, ge=0, le=2, description="Of a served teacher's writing; judging is at 0")
    usd_per_million_in: float | None = Field(None, ge=0, description="Price of a million prompt tokens, in place of litellm's")
    usd_per_million_out: float | None = Field(None, ge=0, description="Price of a million answer tokens, likewise")
    tune_steps: int = Field(60, ge=0, description="Steps of tuning a local teacher to write questions; 0: as it is")


class SynthesisConfig(Section):
    """What the teacher is to write, and what is kept."""

    candidates: int = Field(160, ge=0, title="Synthetic candidates", description="Questions the teacher writes before filtering")
    pairs_per_document: int = Field(6, ge=1, le=20, description="Questions asked for at once of a served teacher")
    rounds: int = Field(2, ge=1, le=10, description="Rounds; each sees what the rounds before it accepted")
    styles: tuple[Style, ...] = Field(STYLES, description="Kinds of questions")
    demonstrations: int = Field(4, ge=0, le=16, description="Examples shown to the teacher in each prompt")
    paraphrases: float = Field(
        0.1, ge=0, le=1, description="At most this share of candidates are human questions, reworded or of other documents"
    )
    min_rating: int = Field(3, ge=1, le=5, description="Lowest rating of a question by a served teacher")
    max_topic_share: float = Field(0.25, gt=0, le=1, description="Largest share of one topic among accepted questions")
    preferences: int = Field(
        0, ge=0, description="Questions for which the champion's answers are compared, for preference training"
    )
    seed: int = Field(0, description="Draws the passages and demonstrations")


class DatasetConfig(Section):
    """What goes into a training set."""

    near_duplicate: float = Field(0.92, gt=0, le=1, description="Cosine similarity from which two questions are the same")
    human_weight: float = Field(1.0, ge=0, le=10, description="How often a human example is seen in an epoch")
    synthetic_weight: float = Field(1.0, ge=0, le=10, description="How often a synthetic example is seen in an epoch")
    feedback_weight: float = Field(1.0, ge=0, le=10, description="How often an example from feedback is seen in an epoch")
    replay: float = Field(0.1, ge=0, le=1, description="Rows of earlier datasets, as a share of the new rows, against forgetting")
    refusals: float = Field(0.05, ge=0, lt=1, description="Share of rows whose answer is not among the chunks and is refused")
    seed: int = Field(0, description="Draws the rows that are replayed, repeated and refused")


class BudgetConfig(Section):
    """What one cycle may spend on served models; none: no limit."""

    usd: float | None = Field(None, ge=0, title="Budget, US$", description="Money for a cycle's calls")
    tokens: int | None = Field(None, ge=0, description="Tokens, in and out, for a cycle's calls")


class BedrockConfig(Section):
    """Training as an Amazon Bedrock customization job, and what serving the model that it makes may cost."""

    kind: CustomizationKind = Field("FINE_TUNING", description="Of sft; CONTINUED_PRE_TRAINING: of cpt; DISTILLATION: of prompts")
    base_model: str = Field(min_length=1, title="Foundation model", description="Its id as Bedrock lists it for customization")
    role_arn: str = Field(pattern=ROLE_ARN, description="The role that Bedrock takes; see deployments/aws")
    s3: str = Field(pattern=S3_URI, title="S3 prefix", description="s3://bucket/prefix of the rows (data) and the output")
    hyperparameters: dict[str, str] = Field(default_factory=dict, description="The foundation model's own, such as epochCount")
    teacher_model: str | None = Field(None, min_length=1, description="Foundation model that answers (DISTILLATION)")
    max_response_tokens: int | None = Field(None, ge=1, description="Longest answer of it (DISTILLATION)")
    units: int = Field(1, ge=1, title="Model units", description="Of the throughput that serves while answers are judged")
    commitment: Commitment | None = Field(None, description="None: made for the answers and deleted; else kept")
    usd_per_unit_hour: float = Field(ge=0, title="US$ a unit and hour", description="From aws.amazon.com/bedrock/pricing")
    attempt: int = Field(1, ge=1, description="A higher one trains again what failed or was deleted, and pays again")

    @model_validator(mode="after")
    def _teacher_with_distillation(self) -> "BedrockConfig":
        given = (self.teacher_model is not None, self.max_response_tokens is not None)
        if self.kind == "DISTILLATION" and not all(given):
            raise ValueError("DISTILLATION needs teacher_model and max_response_tokens")
        if self.kind != "DISTILLATION" and any(given):
            raise ValueError("teacher_model and max_response_tokens are of DISTILLATION only")
        return self

    @property
    def method(self) -> Method:
        """The stage that training.methods names for it."""
        return METHOD_OF[self.kind]


class TrainingConfig(Section):
    """LoRA training: a sequence of stages on one adapter, each starting from the one before."""

    base_model: str = Field("smollm2-135m-instruct", title="Base model", description="Bundled model, folder, or hub name")
    methods: tuple[Method, ...] | Literal["auto"] = Field(
        ("sft",), title="Stages", description="cpt, sft, dpo, orpo, kto, reward, ppo, grpo, rloo in a row; auto: as advised"
    )
    goal: Goal = Field("answer style and accuracy", description="What auto is to serve")
    hours: float = Field(8.0, gt=0, description="That auto may plan for")
    max_steps: int = Field(60, ge=1, title="Training steps", description="Optimiser steps of each stage")
    batch_size: int = Field(4, ge=1, description="Examples per step")
    learning_rate: float = Field(5e-4, gt=0, lt=1, description="Peak learning rate of cpt, sft, orpo and reward, linear decay")
    preference_rate: float = Field(5e-5, gt=0, lt=1, description="Likewise of dpo and kto")
    online_rate: float = Field(5e-5, gt=0, lt=1, description="Likewise of ppo, grpo and rloo")
    beta: float = Field(0.1, gt=0, description="Strength of the pull to the reference (dpo, kto), of the odds ratio (orpo)")
    kl: float = Field(0.05, ge=0, description="Price of a nat of divergence from the reference (ppo, grpo, rloo)")
    samples: int = Field(4, ge=2, description="Answers per prompt (grpo, rloo); batch_size counts answers, a multiple of it")
    answer_tokens: int = Field(32, ge=1, description="Longest answer that is sampled (ppo, grpo, rloo)")
    adapter: Literal["lora", "dora", "rslora", "qlora"] = Field("lora", description="Kind of adapter; qlora needs a GPU")
    lora_rank: int = Field(16, ge=1, description="Rank of the LoRA matrices")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale numerator")
    target_modules: tuple[str, ...] = Field(("all-linear",), min_length=1, description="Layers that get LoRA matrices")
    run_on: Literal["here", "gpu"] = Field("here", title="Train on", description="here: in the run; gpu: the gpu work pool")
    launcher: Literal["inprocess", "accelerate", "bedrock"] = Field(
        "inprocess", description="accelerate: several devices at once; bedrock: a customization job of Amazon Bedrock"
    )
    bedrock: BedrockConfig | None = Field(
        None, title="Bedrock", description="What launcher bedrock is told; kept while its model is champion"
    )
    accelerate: Path | None = Field(None, description="Its configuration; see deployments/accelerate")
    checkpoint_every: int = Field(15, ge=1, description="Steps between checkpoints")
    max_length: int = Field(1024, ge=64, description="Longest training row in tokens; a longer prompt loses its middle")
    seed: int = Field(0, description="Weights, order of rows, samples")

    @model_validator(mode="after")
    def _stages_fit(self) -> "TrainingConfig":
        if not self.methods:
            raise ValueError("methods names no stage")
        if "ppo" in self.methods and "reward" not in self.methods[: self.methods.index("ppo")]:
            raise ValueError("ppo needs a reward stage before it")
        if self.methods != "auto" and set(self.methods) <= {"reward"}:
            raise ValueError("a reward model alone answers nothing; name a stage that uses it")
        if {"grpo", "rloo"} & set(self.methods) and self.batch_size % self.samples:
            raise ValueError("batch_size must be a multiple of samples for grpo and rloo")
        if (self.launcher == "accelerate") != (self.accelerate is not None):
            raise ValueError("launcher accelerate and the configuration file named by accelerate go together")
        return self

    @model_validator(mode="after")
    def _bedrock_fits(self) -> "TrainingConfig":
        if self.launcher != "bedrock":
            return self
        if self.bedrock is None:
            raise ValueError("launcher bedrock needs [training.bedrock]; see docs/bedrock.md")
        if self.methods != (self.bedrock.method,):
            asked = self.methods if self.methods == "auto" else ", ".join(self.methods)
            raise ValueError(f'{self.bedrock.kind} on Bedrock is methods = ["{self.bedrock.method}"] alone, not {asked}')
        if self.run_on != "here":
            raise ValueError("Bedrock trains on its own machines; set run_on = here")
        return self


class GateConfig(Section):
    """When a challenger becomes champion. Margins are losses in accuracy, as shares, that are still accepted."""

    promote: bool = Field(True, title="Promote if improved", description="Off: the decision is made and recorded only")
    approval_hours: float | None = Field(
        None, gt=0, le=2160, title="Approval, hours", description="A person must approve within so many; else the champion stays"
    )
    false_promotion_rate: float = Field(0.05, gt=0, lt=0.5, description="Chance of any false promotion in an eval set's life")
    target: str = Field("all", min_length=1, description="What must improve: all, or a slice such as “new questions”")
    margin: float = Field(0.05, gt=0, lt=1, description="Of the whole eval set, where the target is a slice, and of slices")
    general_margin: float = Field(0.15, gt=0, le=1, description="Of the general questions")
    max_slowdown: float = Field(2.0, ge=1, description="Seconds an answer may take, times the champion's")
    max_tokens: float = Field(2.0, ge=1, description="Tokens an answer may take, times the champion's")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the intervals that are shown")
    min_items: int = Field(30, ge=2, description="Fewest eval questions the gate decides on")
    max_failure_share: float = Field(0.05, ge=0, lt=1, description="Failed judgements beyond this share give HOLD")
    min_agreement: float = Field(0.8, ge=0, le=1, description="Of the judge with people's labels, by its calibration")

    @property
    def policy(self) -> GatePolicy:
        """What of it decides; whether the champion then moves is another matter."""
        return GatePolicy.model_validate(self.model_dump(exclude={"promote", "approval_hours"}))


class DriftConfig(Section):
    """Which windows of customers' questions are compared, and how often that may be wrong."""

    reference: Path = Field(title="Reference questions", description="JSONL of {session, question} that the model was made for")
    current: Path | None = Field(
        None,
        title="Current questions",
        description="JSONL of {session, question} that arrive now; empty: what people asked csift",
    )
    false_alarms: float = Field(0.1, gt=0, lt=0.5, description="Chance of any false alarm in a month, one check a day")
    seed: int = Field(0, description="Draws the permutations")


class TriggerConfig(Section):
    """When a cycle trains. While corpus, labels, feedback and configuration are those of the last decision it never does."""

    new_labels: int = Field(1, ge=1, title="New labels", description="Train on so many new or changed labels and feedback rows")
    corpus_change: bool = Field(True, description="Train when a document came, changed or left")
    accuracy_loss: Literal["alone", "with drift", "never"] = Field(
        "alone", description="Train when rated answers got worse and anything changed; or only when the traffic drifted as well"
    )
    max_age_days: float | None = Field(None, gt=0, description="Train when anything changed and the last decision is older")
    cooldown_hours: float = Field(0, ge=0, description="A scheduled run trains no sooner after the last decision")


class MonitorConfig(Section):
    """What the hourly look at the champion does about what it finds."""

    rollback: bool = Field(
        False, title="Roll back", description="Take the last promotion back when rated answers got worse since"
    )


class BenchmarkConfig(Section):
    """The methods side by side. No cycle depends on it."""

    arms: tuple[str, ...] = Field(
        ("base", "rag", "rag-bootstrap", "sft", "sft+rag", "dpo", "dpo+rag"),
        min_length=1,
        description="What is compared; all: the whole table; docs/benchmark.md has every name",
    )
    questions_per_month: int = Field(100_000, ge=1, description="Traffic that the monthly cost is for")
    usd_per_hour: float = Field(0.1, ge=0, description="Price of the machine that a local model answers on")
    chunk_sizes: tuple[int, ...] = Field((200, 300, 450, 700), min_length=1, description="Tried, with the corpus's own overlap")
    ks: tuple[int, ...] = Field((1, 2, 3, 5), min_length=1, description="Chunks per question that are tried")
    retrievers: tuple[Literal["dense", "tfidf"], ...] = Field(("dense", "tfidf"), min_length=1, description="Likewise")
    excerpt_characters: int = Field(1200, ge=1, description="Settings that show more, on average, are too slow to be chosen")
    bootstrapped: int = Field(4, ge=0, description="Demonstrations that the optimised program answered itself")
    labelled: int = Field(16, ge=0, description="Demonstrations in all, the others being labelled questions")
    prompt_model: str | None = Field(None, min_length=1, description="Served, writes instructions (rag-mipro, rag-gepa)")
    max_tokens: int = Field(512, ge=16, description="Longest reply of a served model")
    mistakes_of: int = Field(80, ge=1, description="Training questions whose wrong answers become preference pairs")
    seed: int = Field(0, description="Draws people's questions and the optimisers' order")


class ServingConfig(Section):
    """How many questions `csift serve` takes."""

    per_minute: int = Field(600, ge=1, title="Requests a minute", description="Of one API key")
    queue: int = Field(128, ge=1, description="Requests at once; more are told when to come again")


class LoopConfig(Section):
    """Everything one turn of the loop is told."""

    project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", title="Project", description="Name of the project")]
    corpus: CorpusConfig
    retrieval: RetrievalConfig = RetrievalConfig()
    teacher: TeacherConfig = TeacherConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    dataset: DatasetConfig = DatasetConfig()
    training: TrainingConfig = TrainingConfig()
    judge: JudgeConfig = JudgeConfig()
    gate: GateConfig = GateConfig()
    drift: DriftConfig
    trigger: TriggerConfig = TriggerConfig()
    monitor: MonitorConfig = MonitorConfig()
    budget: BudgetConfig = BudgetConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    serving: ServingConfig = ServingConfig()
    feedback: FeedbackConfig = FeedbackConfig()


def load_config(path: Path) -> LoopConfig:
    """Reads a project's TOML.

    Raises:
        ConfigError: the file is missing or not TOML, or a key is unknown or its value impossible; names key and file.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; name one with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None
    try:
        return absolute(LoopConfig.model_validate(raw), path.resolve().parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None


def absolute(config: LoopConfig, base: Path) -> LoopConfig:
    """The same configuration with its relative paths taken from `base`."""

    def fix(section: Any) -> Any:
        update: dict[str, Any] = {}
        for name, value in section:
            if isinstance(value, Path):
                update[name] = base / value.expanduser()
            elif isinstance(value, tuple) and any(isinstance(part, Path) for part in value):
                update[name] = tuple(base / part.expanduser() for part in value)
            elif isinstance(value, tuple) and any(isinstance(part, Section) for part in value):
                update[name] = tuple(fix(part) for part in value)
            elif name == "location" and "://" not in value:
                update[name] = str(base / Path(value).expanduser())
            elif isinstance(value, Section):
                update[name] = fix(value)
        return section.model_copy(update=update)

    return fix(config)


def explain(error: ValidationError) -> str:
    """The first problem of a validation error as one line that names the key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`; remove it or correct its name"
    if first["type"] == "missing":
        return f"`{key}` is missing; add it"
    return f"`{key}` = {first.get('input')!r} is impossible: {first['msg'].removeprefix('Value error, ')}"
