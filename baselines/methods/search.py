"""Sizes of peers by their number of parameters: the student search of weighted mutual learning (Iyer 2024, arXiv
2411.16487), by a closed form in place of the published code's Bayesian optimisation, which builds a model per trial and
can never choose the last size of an axis.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import nn

from baselines.errors import BaselineError
from baselines.models.families import family_of

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


def peers(experiment, count: int, sizes: str) -> list[nn.Module]:
    """The count − 1 peers of an experiment's student: of its size, or where `sizes` is "searched" smaller and all
    different. The student then stands for the published M = 1, half of a base model, and its peers have 2/3, 2/4, 2/5 …
    of its parameters, which are logged.

    Raises BaselineError where the student is not a transformer, or too small for that number of peers.
    """
    if sizes == "same":
        return [experiment.peer(number) for number in range(1, count)]
    found = smaller(experiment.student.config, count)
    made = [experiment.peer(n, layers=s.layers, width=s.width, heads=s.heads) for n, s in enumerate(found, 1)]
    for number, (size, peer) in enumerate(zip(found, made, strict=True), 1):
        held = {"layers": size.layers, "width": size.width, "parameters": sum(p.numel() for p in peer.parameters())}
        experiment.log(**{f"peer_{number}_{name}": value for name, value in held.items()})
    return made


def smaller(config, count: int) -> list[Sizes]:
    """The sizes of the count − 1 peers of a transformer with this configuration: no deeper and no wider than it, with
    as many heads. Raises BaselineError as `peers` does."""
    if family_of(config).layers != "blocks":
        raise BaselineError(
            f"a {config.model_type} has no sizes to search: the closed form counts the parameters of a transformer",
            "use peer_sizes = same",
        )
    heads, width = config.num_attention_heads, config.hidden_size
    own = Sizes(config.num_hidden_layers, heads, width, 4 * width)
    text = config.vocab_size, config.max_position_embeddings
    space = range(1, own.layers + 1), (heads,), range(heads, width + 1, heads)
    return peer_sizes(2 * own.parameters(*text), count, *text, *space)[1:]  # the first is the student itself


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
