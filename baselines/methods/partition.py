"""Splits of labelled rows over clients, as in federated learning: alike, of different sizes, or of different classes.

Each takes labels [N] and gives the places of the rows of every client: disjoint, complete, none empty, and the same for
the same seed.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from baselines.errors import BaselineError

Parts = tuple[Tensor, ...]
DRAWS = 1000


def uniform(labels: Tensor, clients: int, seed: int) -> Parts:
    """Random parts whose sizes differ by one at most."""
    return _filled(lambda rng: _shuffled(torch.arange(len(labels)), rng).tensor_split(clients), seed)


def quantity(labels: Tensor, clients: int, seed: int, concentration: float) -> Parts:
    """Random parts whose sizes follow a symmetric Dirichlet distribution: the smaller, the more they differ."""
    return _filled(lambda rng: _shared(torch.arange(len(labels)), clients, concentration, rng), seed)


def dirichlet(labels: Tensor, clients: int, seed: int, concentration: float) -> Parts:
    """Each class is spread over the clients by a Dirichlet draw of its own (0.1: nearly one client per class)."""
    classes = [(labels == label).nonzero()[:, 0] for label in labels.unique()]

    def draw(rng: np.random.Generator) -> Parts:
        spread = [_shared(places, clients, concentration, rng) for places in classes]
        return tuple(torch.cat(parts) for parts in zip(*spread, strict=True))

    return _filled(draw, seed)


def by_class(labels: Tensor, owned: Sequence[Sequence[int]], seed: int) -> Parts:
    """Each client gets rows of the classes it owns; a class that several own is shared out evenly among them.

    Raises BaselineError for a class that nobody owns.
    """
    if missing := {*labels.tolist()}.difference(*owned):
        raise BaselineError(f"no client owns class {min(missing)}", "give each class to a client")

    def draw(rng: np.random.Generator) -> Parts:
        parts: list[list[Tensor]] = [[torch.empty(0, dtype=torch.long)] for _ in owned]
        for label in labels.unique().tolist():
            owners = [part for part, classes in zip(parts, owned, strict=True) if label in classes]
            shares = _shuffled((labels == label).nonzero()[:, 0], rng).tensor_split(len(owners))
            for part, share in zip(owners, shares, strict=True):
                part.append(share)
        return tuple(map(torch.cat, parts))

    return _filled(draw, seed)


def _filled(draw: Callable[[np.random.Generator], Parts], seed: int) -> Parts:
    """Draws until every client has a row. Raises BaselineError when that does not come."""
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        parts = draw(rng)
        if all(map(len, parts)):
            return parts
    raise BaselineError(f"one of {len(parts)} clients gets no row", "plan fewer clients or a larger concentration")


def _shared(places: Tensor, clients: int, concentration: float, rng: np.random.Generator) -> Parts:
    """The places in random order, cut where Dirichlet shares end."""
    ends = rng.dirichlet([concentration] * clients).cumsum()[:-1]
    return _shuffled(places, rng).tensor_split((ends * len(places)).round().astype(int).tolist())


def _shuffled(places: Tensor, rng: np.random.Generator) -> Tensor:
    return places[torch.from_numpy(rng.permutation(len(places)))]
