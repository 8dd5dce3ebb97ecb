"""An arm as the processes of a run know it, and the trials that one process runs."""

from dataclasses import dataclass
from typing import Any

from agent.plan.plan import Track


@dataclass(frozen=True)
class Arm:
    """One version of train.py and what it may see."""

    name: str
    commit: str
    method: dict[str, Any]
    """Per track: the settings `experiment.method` holds."""
    teacher: bool
    assisted: bool = False
    """Whether its teacher is the track's assistant, where there is one."""
    reveal_transfer: bool = False
    """Whether it sees the labels of the transfer rows (only the arm that measures what they are worth)."""
    generated: bool = False
    """Whether it learns from the generated rows, where there are any."""


@dataclass(frozen=True)
class Part:
    """Some trials of one track, to be run one after another."""

    track: Track
    name: str
    work: list[tuple[Arm, int]]
    steps: int
    checkpoints: int = 0
    micro: int = 1
    """Into how many micro-batches each batch is split, because memory ran out before."""

    @classmethod
    def of(cls, track: Track, work: list[tuple[Arm, int]], steps: int, checkpoints: int = 0) -> "Part":
        arm, seed = work[0]
        return cls(track, f"{arm.name}-{track.name}-{seed}", work, steps, checkpoints)
