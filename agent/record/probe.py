"""Measurements of a pilot."""

from typing import Literal

from pydantic import Field

from agent.frozen import Record

CLEARLY, SHARE = 10.0, 1e-3
"""An effect counts when it is this many times the difference between two equal runs (on a CPU: zero), and at least
this share of the way that the steps went."""


class Probe(Record):
    schema_: Literal[1] = Field(1, alias="schema")
    steps: int
    moved: float
    """L2 distance that the steps went."""
    again: float
    """L2 distance between the weights of two runs of the very same code."""
    shuffled: dict[str, float]
    """Per teacher output: L2 distance its shuffling makes."""

    @property
    def outputs(self) -> list[str]:
        """Teacher outputs that training depends on."""
        least = max(CLEARLY * self.again, SHARE * self.moved)
        return [name for name, distance in self.shuffled.items() if distance > least]

    @property
    def layers(self) -> list[str]:
        """Teacher layers that were probed."""
        return [name.removeprefix("features-") for name in self.shuffled if name.startswith("features-")]
