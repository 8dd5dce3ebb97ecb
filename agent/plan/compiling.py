"""Whether compiling a track's student would pay in this run, and the line about it.

Measured before the plan is frozen: all arms train alike, and reference arms train before there is a pilot. A user's
choice stands, but it must be possible.
"""

from agent.plan.plan import Track
from agent.record.pace import Pace

LONG = 1000
"""Steps of a trial; with fewer, nothing that takes seconds pays."""
ENOUGH = 120.0
"""Seconds of a trial. Trying it takes about as long, and a run has a dozen trials at the least."""


def told(pace: Pace, track: Track) -> str:
    """On one line: the measurement and the decision."""
    if pace.problem:
        return f"not compiled: {pace.problem}"
    plain = f"a step takes {1e3 * pace.plain:.3g} ms"
    if not pace.compiled:
        return f"not compiled: {plain}, too short for compiling to be tried"
    bits = "the same bits twice" if pace.same else "not the same bits twice"
    beside = f"{1e3 * pace.compiled:.3g} ms compiled, {pace.first:.3g} s to compile, {bits}"
    chosen = "compiled" if track.training.compiled else "not compiled"
    return f"{chosen}: {plain} plain, {beside}; {track.steps:,} steps in a trial"


def worth(track: Track) -> float:
    """Seconds that a step takes at least where compiling is worth trying; where a user wants it, it always is."""
    return 0.0 if track.training.compiled else ENOUGH / track.steps
