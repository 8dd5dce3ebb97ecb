"""Labelled training rows that only judge, where a method has to choose something: neither dev nor test rows may."""

import torch
from torch import Tensor

from baselines.data.rows import NO_LABEL
from baselines.errors import BaselineError

EVERY = 5


def held_back(labels: Tensor) -> Tensor:
    """Which of the rows [N] are held back: every fifth labelled row, counted class by class and in the order of the ids
    within one, so that all arms and seeds hold back the same.

    Raises BaselineError for fewer than five labelled rows.
    """
    by_class = labels.argsort(stable=True)
    chosen = by_class[labels[by_class] != NO_LABEL][EVERY - 1 :: EVERY]
    if not len(chosen):
        raise BaselineError(f"fewer than {EVERY} labelled rows: none can be held back", "plan more of them, or use kd")
    return torch.zeros(len(labels), dtype=torch.bool).index_fill(0, chosen, True)
