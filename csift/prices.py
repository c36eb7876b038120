"""What a token of a served model costs: litellm's table, or the price that the configuration gives.

The table's base prices are used; discounts for cached prompts and surcharges for very long ones are not.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

REGIONS = ("us", "eu", "apac", "au", "jp", "ca", "sa", "global", "us-gov")  # prefixes of Bedrock's inference profiles


@dataclass(frozen=True)
class Price:
    """US$ a token."""

    usd_in: float
    usd_out: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """US$ of one call."""
        return tokens_in * self.usd_in + tokens_out * self.usd_out


FREE = Price(0.0, 0.0)  # a model on this machine: its cost is the machine's, by the hour


def price_of(spec: str, usd_per_million_in: float | None = None, usd_per_million_out: float | None = None) -> Price | None:
    """The price of a model named as in litellm (`bedrock/...`, `openai/...`), or None when nobody knows it.

    What is given in US$ a million tokens goes before the table.
    """
    if usd_per_million_in is not None and usd_per_million_out is not None:
        return Price(usd_per_million_in / 1e6, usd_per_million_out / 1e6)
    listed = _listed(spec)
    if listed is None:
        return None
    return Price(
        listed.usd_in if usd_per_million_in is None else usd_per_million_in / 1e6,
        listed.usd_out if usd_per_million_out is None else usd_per_million_out / 1e6,
    )


def _listed(spec: str) -> Price | None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # the bundled table; else it is fetched when imported
    import litellm

    for name in _names(spec):
        entry = litellm.model_cost.get(name, {})
        if "input_cost_per_token" in entry and "output_cost_per_token" in entry:
            return Price(float(entry["input_cost_per_token"]), float(entry["output_cost_per_token"]))
    return None


def _names(spec: str) -> Iterator[str]:
    """The names under which the table may have it, the most exact first."""
    yield spec
    provider, _, model = spec.partition("/")
    yield model
    region, _, rest = model.partition(".")
    if provider == "bedrock" and region in REGIONS:
        yield rest
