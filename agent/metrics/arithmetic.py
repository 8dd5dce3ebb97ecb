"""The arithmetic of reported metrics: what printed digits reveal about the evaluation behind them.

A printed number stands for every number that rounds to it. All of this is exact: fractions, no floats.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

MOST_ROWS = 20_000
"""Sizes of a test set that are searched for an accuracy."""
MOST_CANDIDATES = 5_000
"""Sizes that digits may leave possible; with more of them they prove nothing."""
SLACK = Fraction(1, 10**6)
"""Of an accuracy: single precision and an average over batches are not errors."""
SINGLE = Fraction(6, 10**8)
"""Relative rounding of a number that went through single precision."""


@dataclass(frozen=True)
class Printed:
    """A finite number as it was printed."""

    number: Decimal

    def __str__(self) -> str:
        return str(self.number)

    @property
    def value(self) -> Fraction:
        return Fraction(self.number)

    @property
    def half(self) -> Fraction:
        """Half a unit of the last printed digit."""
        return Fraction(10) ** int(self.number.as_tuple().exponent) / 2

    @property
    def low(self) -> Fraction:
        """The least number that rounds to it, if it cannot be negative."""
        return max(Fraction(0), self.value - self.half)

    @property
    def high(self) -> Fraction:
        return self.value + self.half


@dataclass(frozen=True)
class Size:
    """A size that an evaluation may have had."""

    rows: int
    steps: int


def integers(low: Fraction, high: Fraction) -> range:
    return range(math.ceil(low), math.floor(high) + 1)


def counts(runtime: Printed, rate: Printed) -> range:
    """The numbers of rows (or steps) from 1 that `runtime` seconds at `rate` per second may be."""
    return integers(max(Fraction(1), runtime.low * rate.low), runtime.high * rate.high)


def batches(size: Size) -> range:
    """The batch sizes b with ⌈rows / b⌉ = steps; of one step the least."""
    least = -(-size.rows // size.steps)
    most = -(-size.rows // (size.steps - 1)) - 1 if size.steps > 1 else least
    return range(least, most + 1)


def sizes(runtime: Printed, rows_rate: Printed, steps_rate: Printed) -> Iterator[Size]:
    """Rows and steps that both rates give for one and the same runtime."""
    for steps in counts(runtime, steps_rate):
        for rows in counts(runtime, rows_rate):
            low = max(runtime.low, rows / rows_rate.high, steps / steps_rate.high)
            high = min(runtime.high, *(n / r.low for n, r in ((rows, rows_rate), (steps, steps_rate)) if r.low))
            if low <= high:
                yield Size(rows, steps)


def rights(share: Printed, rows: int) -> range:
    """The numbers of right answers among `rows` that print as `share`."""
    half = max(share.half, SLACK)
    return integers((share.value - half) * rows, (share.value + half) * rows)


def divisor(share: Printed) -> int:
    """What divides every size up to MOST_ROWS of a test set with that accuracy; 0 where such sizes share nothing."""
    exact, single = share.half, share.value * SINGLE
    for half in (exact, single) if exact < single else (exact,):
        found = [rows for rows in range(1, MOST_ROWS + 1) if _possible(share.value - half, share.value + half, rows)]
        if found:
            return found[0] if math.gcd(*found) == found[0] else 0
    return 0


def _possible(low: Fraction, high: Fraction, rows: int) -> bool:
    """Whether some number of `rows` is a share between low and high."""
    return high.numerator * rows // high.denominator >= -(-low.numerator * rows // low.denominator)


def interval(right: int, rows: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    found = binomtest(right, rows).proportion_ci()
    return float(found.low), float(found.high)


def above(right: int, rows: int, share: float) -> bool:
    """Whether more are right than a share of all explains: exact binomial test, one-sided, level 0.01."""
    from scipy.stats import binomtest

    return bool(binomtest(right, rows, share, "greater").pvalue < 0.01)
