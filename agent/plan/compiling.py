"""Pace: what a step of a track's student takes as it is and compiled, and whether compiling it would pay in this run.

Measured before the plan is frozen: all arms train alike, and reference arms train before there is a pilot. What a user
says about it stands, but it must be possible.
"""

from agent.frozen import Record
from agent.plan.plan import Track

LONG = 1000
"""Steps of a trial; in fewer nothing pays that takes seconds."""
ENOUGH = 120.0
"""Seconds of a trial. To try it out takes about as long, and a run has a dozen trials at the least."""
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
    """Whether two processes that compiled came to the same weights, bit by bit."""
    problem: str = ""
    """Why it could not be compiled."""

    def pays(self, steps: int) -> bool:
        """Whether a trial of so many steps takes clearly less time, compiling included, and the same bits come out."""
        least = (1 - LEAST) * steps * self.plain
        return self.same and not self.problem and self.first + steps * self.compiled <= least

    def told(self, track: Track) -> str:
        """On one line: what was measured, and what came of it."""
        if self.problem:
            return f"trained as it is: {self.problem}"
        as_it_is = f"a step takes {1e3 * self.plain:.3g} ms"
        if not self.compiled:
            return f"trained as it is: {as_it_is}, too little for compiling to be tried"
        bits = "the same bits twice" if self.same else "not the same bits twice"
        beside = f"{1e3 * self.compiled:.3g} ms compiled, {self.first:.3g} s to compile, {bits}"
        chosen = "compiled" if track.training.compiled else "trained as it is"
        return f"{chosen}: {as_it_is} as it is, {beside}; {track.steps:,} steps in a trial"


def worth(track: Track) -> float:
    """Seconds that a step takes at least where compiling is worth trying; where a user wants it, it always is."""
    return 0.0 if track.training.compiled else ENOUGH / track.steps
