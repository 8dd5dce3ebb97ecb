"""The table of model families (baselines/families.toml): what plans and their checks know of each.

What building and training a model needs to know stands in the same rows, under `code`; baselines reads that.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent import config
from agent.frozen import Record
from agent.plan.cards import Kind

Layout = Literal["sequence", "map"]
Layers = Literal["blocks", "stages", "recurrent"]
Range = tuple[float, float]


class Rates(Record):
    """From the least to the most."""

    random: Range
    """For a model of random weights."""
    pretrained: Range


class Family(Record):
    kind: Kind
    """Rows that it is for; those of a language are a corpus, whose next tokens it predicts."""
    layout: Layout
    """Of its features: states [B, L, d] or maps [B, C, H, W]."""
    layers: Layers
    """Blocks of a transformer, stages of a CNN, or recurrent layers."""
    starts_from: tuple[str, ...]
    """Families whose layers its own can start from."""
    teaches: bool
    """Whether it may be a teacher."""
    bf16_width: Annotated[float, Field(ge=0)]
    """From this width on it trains faster in bf16 where a processor multiplies in it, and as well; 0 where at none:
    `make bench-precision`."""
    rates: Rates
    """Learning rates at which it is known to train."""
    sgd_rates: Rates
    """The same with SGD."""


def _known(name: str) -> str:
    if name not in families():
        raise ValueError(f"unknown family of models: choose one of {', '.join(families())}")
    return name


Architecture = Annotated[str, AfterValidator(_known)]
"""The name of a row."""


@cache
def families() -> Mapping[str, Family]:
    """Every family, by name."""
    rows = config.cards(config.FAMILIES)
    return {name: Family.model_validate(_facts(row) | row["plan"]) for name, row in rows.items()}


def _facts(row: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key not in ("plan", "code")}


def a_or_an(name: str) -> str:
    """The name after its article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
