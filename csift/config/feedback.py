"""What people say of answers, and who grades where they say nothing."""

from pydantic import Field, model_validator

from csift.config.base import Section


class FeedbackConfig(Section):
    """How far what people say of answers is trained on, and a critic that grades where they say nothing."""

    per_rater: int = Field(50, ge=1, title="Answers a rater", description="On how many answers one person is heard")
    critic: str | None = Field(None, min_length=1, description="Model that grades unrated answers, as judge.model; none: nobody")
    critiques: int = Field(100, ge=1, description="Answers that it grades in a night")
    min_agreement: float = Field(0.8, ge=0, le=1, description="Of the critic with people, its lower bound; below it is not used")
    usd_per_million_in: float | None = Field(None, ge=0, description="Price of a million prompt tokens, in place of litellm's")
    usd_per_million_out: float | None = Field(None, ge=0, description="Price of a million reply tokens, likewise")

    @model_validator(mode="after")
    def _prices_of_a_critic(self) -> "FeedbackConfig":
        if self.critic is None and (self.usd_per_million_in, self.usd_per_million_out) != (None, None):
            raise ValueError("the prices are the critic's; name it with critic, or remove them")
        return self
