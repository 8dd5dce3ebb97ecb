"""Sizes of peers by their number of parameters: the student search of weighted mutual learning (Iyer 2024, arXiv
2411.16487), by a closed form in place of the published code's Bayesian optimisation, which builds a model per trial and
can never choose the last size of an axis.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from baselines.errors import BaselineError

LAYERS, HEADS, WIDTHS = (6, 8, 12, 16, 20), (8, 16, 32), (256, 512, 768, 1024, 2048)
"""The space of the published configuration."""


@dataclass(frozen=True)
class Sizes:
    """A RoBERTa with a masked-language-modelling head. `ffn` is the width of the feed-forward layers."""

    layers: int
    heads: int
    width: int
    ffn: int

    def parameters(self, vocabulary: int, positions: int) -> int:
        """Embeddings, layers and head, whose output matrix is the word embeddings'; `positions` as in RoBERTa's
        max_position_embeddings."""
        d, f = self.width, self.ffn
        embeddings = (vocabulary + positions + 1) * d + 2 * d
        layer = 4 * (d * d + d) + 2 * d * f + f + d + 4 * d
        return embeddings + self.layers * layer + d * d + d + 2 * d + vocabulary


def peer_sizes(
    base: int,
    peers: int,
    vocabulary: int,
    positions: int,
    layers: Sequence[int] = LAYERS,
    heads: Sequence[int] = HEADS,
    widths: Sequence[int] = WIDTHS,
    ffn: int | None = None,
) -> list[Sizes]:
    """For peer i = 1..M the sizes whose parameters come nearest to base / (i + 1), none of them twice.

    Of equally near ones the one with more layers, then with more heads. `ffn` None is four times the width; the
    published code has 3072 at every width. Raises BaselineError where there are fewer sizes than peers.
    """
    left = list(_space(layers, heads, widths, ffn))
    if len(left) < peers:
        raise BaselineError(f"{len(left)} different sizes are too few for {peers} peers", "search more sizes")
    chosen = list[Sizes]()
    for target in (base / (i + 1) for i in range(1, peers + 1)):
        found = min(left, key=lambda s: (abs(s.parameters(vocabulary, positions) - target), -s.layers, -s.heads))
        left.remove(found)
        chosen.append(found)
    return chosen


def _space(layers: Sequence[int], heads: Sequence[int], widths: Sequence[int], ffn: int | None) -> Iterator[Sizes]:
    """Every combination whose heads divide its width."""
    for depth, count, width in product(layers, heads, widths):
        if width % count == 0:
            yield Sizes(depth, count, width, ffn or 4 * width)
