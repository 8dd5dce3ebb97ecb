"""How much is measured: less where a step takes a second, more where it takes milliseconds and is told of later."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.measure import WARM

Bound = tuple[str, str, float]
"""An arm, the one that it stands beside, and at most how much of its time it is to take."""


@dataclass(frozen=True)
class Tier:
    bounds: Mapping[str, tuple[Bound, ...]]
    """By track."""
    precision: str
    """Of every arm under step parity, and of every arm under the recipe but for kdagent's own choice."""
    block: int
    """Steps of a turn, at whose end the device is waited for."""
    turns: int
    """Timed ones of each arm in a pass."""
    text: int
    image: int
    short: int
    """Batch sizes; the last is of images that are strided down at once, so that steps are short."""
    passes: int
    """Of images; texts have one. F0 and K-c have as many again: their bound is the narrowest."""
    texts: int
    pictures: int
    """Rows of a pass under the recipe."""
    rounds: int
    wide: bool
    """Whether texts are read by models of the paper's width under the recipe too."""

    @property
    def steps(self) -> int:
        """Of one pass, those that are not timed among them."""
        return self.block * (WARM + self.turns)


TEXT = (("K-c", "N", 0.62), ("K-c", "TB-G", 0.62), ("K-c", "TB-C", 1.0))
PROCESSOR = Tier(
    bounds={
        "text": (("K-c", "F0", 1.03), *TEXT),
        "images": (("K-c", "F0", 1.03), ("K-c", "N", 0.40)),
        "images, short steps": (("K-c", "F0", 1.03),),
        "text, recipe": (("K-full", "N", 0.33),),
        "images, recipe": (("K-full", "N", 0.40),),
    },
    precision="fp32",
    block=1,
    turns=8,
    text=16,
    image=32,
    short=128,
    passes=2,
    texts=128,
    pictures=128,
    rounds=3,
    wide=False,
)
CARD = Tier(
    bounds={
        "text": (("K-c", "F0", 1.05), *TEXT),
        "images": (("K-c", "F0", 1.05), ("K-c", "N", 0.60)),
        "images, short steps": (("K-c", "F0", 1.05),),
        "text, recipe": (("K-full", "N", 0.33),),
        "images, recipe": (("K-full", "N", 0.60),),
    },
    precision="bf16",
    block=10,
    turns=10,
    text=128,
    image=512,
    short=512,
    passes=1,
    texts=3200,
    pictures=3200,
    rounds=3,
    wide=True,
)
TIERS = {"processor": PROCESSOR, "card": CARD}


def quick(tier: Tier) -> Tier:
    """The same, so small that its numbers mean nothing."""
    block = min(tier.block, 2)
    few = {"turns": 8 // block, "passes": 1, "rounds": 1, "wide": False}
    return replace(tier, block=block, **few, text=8, image=8, short=8, texts=128, pictures=160)
