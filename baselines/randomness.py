"""The random generators that all of a process shares."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undrawn() -> Iterator[None]:
    """Leaves the random generators of Python, numpy and torch where they stood."""
    plain, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(plain)
    np.random.set_state(array)
