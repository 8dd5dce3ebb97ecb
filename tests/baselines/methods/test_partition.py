"""Splits over clients: every row at one client, the same ones for the same seed, nobody empty."""

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.partition import by_class

LABELS = torch.arange(200) % 5
OWNED = ((0, 1, 2), (2, 3, 4), (2,))


def test_parts_are_disjoint_complete_never_empty_and_seeded():
    """PI-7."""
    for seed in range(20):
        parts = by_class(LABELS, OWNED, seed)
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(200))
        assert all(map(len, parts))
    again = by_class(LABELS, OWNED, 19)
    assert all(map(torch.equal, parts, again)) and not all(map(torch.equal, parts, by_class(LABELS, OWNED, 20)))


def test_a_class_that_several_own_is_shared_out_evenly():
    counts = [LABELS[part].bincount(minlength=5).tolist() for part in by_class(LABELS, OWNED, 0)]
    assert counts == [[40, 40, 14, 0, 0], [0, 0, 13, 40, 40], [0, 0, 13, 0, 0]]


def test_a_split_that_leaves_a_client_empty_or_a_class_without_an_owner_is_refused():
    with pytest.raises(BaselineError, match="one of 3 clients gets no row"):
        by_class(LABELS[:5], OWNED, 0)
    with pytest.raises(BaselineError, match="no client owns class 4"):
        by_class(LABELS, ((0, 1), (2, 3)), 0)


def test_the_callers_random_numbers_do_not_move():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    by_class(LABELS, OWNED, 0)
    assert torch.equal(torch.rand(2), expected)
