"""What all sections share."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
