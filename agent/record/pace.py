"""Measurements of compiling, for one track's student."""

from agent.frozen import Record

LEAST = 0.05
"""Share of a trial's time that must be saved: less may be the noise of a few steps."""


class Pace(Record):
    plain: float = 0.0
    """Seconds of a step as it is."""
    compiled: float = 0.0
    """Seconds of a compiled step; 0 where it was not tried, or could not be."""
    first: float = 0.0
    """Seconds that compiling takes."""
    same: bool = False
    """Whether two processes that compiled produced the same weights, bit by bit."""
    problem: str = ""
    """Why it could not be compiled."""

    def pays(self, steps: int) -> bool:
        """Whether a trial of `steps` takes clearly less time, compiling included, and the same bits come out."""
        least = (1 - LEAST) * steps * self.plain
        return self.same and not self.problem and self.first + steps * self.compiled <= least
