"""What a backfill is asked for: the form of the Prefect UI, and what the command line fills in."""

from datetime import date

from pydantic import Field, ValidationInfo, field_validator

from csift.config import LoopConfig, Section
from csift.exceptions import ConfigError
from csift.schemas.base import Every

PARALLEL = 16  # partitions at once, at most


class BackfillRequest(Section):
    """Which documents are to be taught, in which parts, and what may come of it."""

    since: date | None = Field(
        None, title="Since", description="First day; a document's date is in its path, else when it changed"
    )
    until: date | None = Field(None, title="Until", description="Last day")
    every: Every | None = Field(
        None, title="Every", description="A partition each; month, where days are given; else each source is one"
    )
    corpus: str | None = Field(
        None, min_length=1, title="Corpus", description="Folder or s3://bucket/prefix in place of the source's location"
    )
    parallel: int = Field(
        4, ge=1, le=PARALLEL, title="Partitions at once", description="They share the teacher's calls in flight"
    )
    promote: bool = Field(False, title="Promote", description="Move the champion when the challenger is better")
    dry_run: bool = Field(False, title="Dry run", description="Say what it would take; nothing is written and nobody is asked")

    @field_validator("since", "until", mode="before")
    @classmethod
    def _a_day(cls, value: object) -> object:
        if isinstance(value, date) or value is None:
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            raise ValueError("it is no day; write one as 2024-03-17") from None

    @field_validator("until")
    @classmethod
    def _in_order(cls, until: date | None, told: ValidationInfo) -> date | None:
        since = told.data.get("since")
        if since and until and until < since:
            raise ValueError(f"it is before since, {since}; swap them")
        return until

    @property
    def windows(self) -> Every | None:
        """The windows that documents are put into by their date; None: each source is a partition."""
        return self.every or ("month" if self.since or self.until else None)

    @property
    def range(self) -> str:
        """The range in words."""
        if self.since and self.until:
            return f"from {self.since} to {self.until}"
        return f"since {self.since}" if self.since else f"until {self.until}" if self.until else "of any date"


def over(config: LoopConfig, request: BackfillRequest) -> LoopConfig:
    """The configuration for a backfill: promotion as asked, and the one source at another place if one is named.

    Raises:
        ConfigError: there are several sources to replace.
    """
    told = config.model_copy(update={"gate": config.gate.model_copy(update={"promote": request.promote})})
    if request.corpus is None:
        return told
    if len(config.corpus.sources) > 1:
        many = len(config.corpus.sources)
        raise ConfigError(f"corpus replaces one source and corpus.sources has {many}; write a TOML for this run")
    source = config.corpus.sources[0].model_copy(update={"location": request.corpus})
    return told.model_copy(update={"corpus": config.corpus.model_copy(update={"sources": (source,)})})
