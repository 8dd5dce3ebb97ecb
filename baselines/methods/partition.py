"""Splits of labelled rows over clients, as in federated learning, where clients know different classes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from baselines.errors import BaselineError


def by_class(labels: Tensor, owned: Sequence[Sequence[int]], seed: int) -> tuple[Tensor, ...]:
    """The places in labels [N] of every client's rows: disjoint, complete, and the same for the same seed.

    Each client gets rows of the classes it owns; a class that several own is shared out evenly among them. Raises
    BaselineError for a class that nobody owns, and for a client that gets no row.
    """
    if missing := {*labels.tolist()}.difference(*owned):
        raise BaselineError(f"no client owns class {min(missing)}", "give each class to a client")
    rng = np.random.default_rng(seed)
    parts: list[list[Tensor]] = [[torch.empty(0, dtype=torch.long)] for _ in owned]
    for label in labels.unique().tolist():
        owners = [part for part, classes in zip(parts, owned, strict=True) if label in classes]
        shares = _shuffled((labels == label).nonzero()[:, 0], rng).tensor_split(len(owners))
        for part, share in zip(owners, shares, strict=True):
            part.append(share)
    found = tuple(map(torch.cat, parts))
    if not all(map(len, found)):
        raise BaselineError(f"one of {len(owned)} clients gets no row", "plan fewer clients")
    return found


def _shuffled(places: Tensor, rng: np.random.Generator) -> Tensor:
    return places[torch.from_numpy(rng.permutation(len(places)))]
