"""The smallest experiment that must show what a method does, and its negative control."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class Claim:
    """One thing that must hold, with the number it was decided on."""

    what: str
    measured: str
    holds: bool
    control: bool = False
    """Whether it says that nothing shows where nothing must."""


@dataclass(frozen=True)
class Effect:
    """`run` measures; `expected` is what was measured when the method was specified."""

    name: str
    methods: str
    data: str
    expected: str
    run: Callable[[], Sequence[Claim]]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f} (n={len(values)})"
