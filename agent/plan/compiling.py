"""Whether compiling a track's student would pay in this run, and what is said of it.

Measured before the plan is frozen: all arms train alike, and reference arms train before there is a pilot. What a user
says about it stands, but it must be possible.
"""

from agent.plan.plan import Track
from agent.record.pace import Pace

LONG = 1000
"""Steps of a trial; in fewer nothing pays that takes seconds."""
ENOUGH = 120.0
"""Seconds of a trial. To try it out takes about as long, and a run has a dozen trials at the least."""


def told(pace: Pace, track: Track) -> str:
    """On one line: what was measured, and what came of it."""
    if pace.problem:
        return f"trained as it is: {pace.problem}"
    as_it_is = f"a step takes {1e3 * pace.plain:.3g} ms"
    if not pace.compiled:
        return f"trained as it is: {as_it_is}, too little for compiling to be tried"
    bits = "the same bits twice" if pace.same else "not the same bits twice"
    beside = f"{1e3 * pace.compiled:.3g} ms compiled, {pace.first:.3g} s to compile, {bits}"
    chosen = "compiled" if track.training.compiled else "trained as it is"
    return f"{chosen}: {as_it_is} as it is, {beside}; {track.steps:,} steps in a trial"


def worth(track: Track) -> float:
    """Seconds that a step takes at least where compiling is worth trying; where a user wants it, it always is."""
    return 0.0 if track.training.compiled else ENOUGH / track.steps
