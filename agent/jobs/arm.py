"""An arm as the processes of a run know it, and the shard of its trials that one process runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.plan.plan import Track


@dataclass(frozen=True)
class Arm:
    """One version of train.py and what it may see."""

    name: str
    commit: str
    method: dict[str, dict[str, object]]
    """Per track: the settings in `experiment.method`."""
    teacher: bool
    ours: bool = False
    """Whether no model wrote it: its trials may share a process across tracks, and may be reused."""
    assisted: bool = False
    """Whether its teacher is the track's assistant, where there is one."""
    reveal_transfer: bool = False
    """Whether it sees the labels of the transfer rows (only the arm that measures what they are worth)."""
    generated: bool = False
    """Whether it learns from the generated rows, where there are any."""


@dataclass(frozen=True)
class Shard:
    """Some trials of one track, to be run one after another by one process."""

    track: Track
    name: str
    work: Sequence[tuple[Arm, int]]
    """Arms and seeds."""
    steps: int
    checkpoints: int = 0
    micro: int = 1
    """Into how many micro-batches each batch is split, because memory ran out before."""
    tried: int = 1
    """For which time its trials are trained, because they were killed from outside before."""

    @classmethod
    def of(cls, track: Track, work: Sequence[tuple[Arm, int]], steps: int, checkpoints: int = 0) -> "Shard":
        arm, seed = work[0]
        return cls(track, f"{arm.name}-{track.name}-{seed}", work, steps, checkpoints)

    @property
    def smaller(self) -> "Shard | None":
        """With micro-batches of the next smaller size that divides the batch; None at one row."""
        size = self.track.training.batch_size
        after = [count for count in range(self.micro + 1, size + 1) if size % count == 0 and count >= 2 * self.micro]
        return replace(self, micro=after[0]) if after else None

    @property
    def training(self) -> dict[str, Any]:
        """The settings of its training: batches are split, with the same rows in each step."""
        known = self.track.training
        split = {"batch_size": known.batch_size // self.micro, "accumulation": known.accumulation * self.micro}
        return known.model_dump() | split
