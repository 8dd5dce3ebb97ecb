"""Splits over clients: every row at one client, the same ones for the same seed, nobody empty."""

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.partition import by_class, dirichlet, quantity, uniform

LABELS = torch.arange(200) % 5
OWNED = ((0, 1, 2), (2, 3, 4), (2,))
SPLITS = {
    "uniform": lambda seed: uniform(LABELS, 4, seed),
    "quantity": lambda seed: quantity(LABELS, 4, seed, 0.5),
    "dirichlet": lambda seed: dirichlet(LABELS, 4, seed, 0.5),
    "by_class": lambda seed: by_class(LABELS, OWNED, seed),
}


@pytest.mark.parametrize("name", SPLITS)
def test_parts_are_disjoint_complete_never_empty_and_seeded(name):
    """PI-7."""
    for seed in range(20):
        parts = SPLITS[name](seed)
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(200))
        assert all(map(len, parts))
    again = SPLITS[name](19)
    assert all(map(torch.equal, parts, again)) and not all(map(torch.equal, parts, SPLITS[name](20)))


def test_each_split_is_uneven_in_its_own_way():
    counts = {name: torch.stack([LABELS[p].bincount(minlength=5) for p in split(0)]) for name, split in SPLITS.items()}
    assert all(torch.equal(each.sum(dim=0), torch.full((5,), 40)) for each in counts.values())
    assert {len(part) for part in SPLITS["uniform"](0)} == {50}
    assert counts["quantity"].sum(dim=1).double().std() > 15
    shares = counts["dirichlet"] / counts["dirichlet"].sum(dim=1, keepdim=True)
    assert shares.amax() > 0.4
    assert counts["by_class"].tolist() == [[40, 40, 14, 0, 0], [0, 0, 13, 40, 40], [0, 0, 13, 0, 0]]


def test_a_smaller_concentration_is_more_uneven():
    def skew(concentration):
        parts = dirichlet(LABELS, 4, 0, concentration)
        return torch.stack([LABELS[p].bincount(minlength=5).double() for p in parts]).std(dim=0).mean()

    assert skew(0.1) > skew(1.0) > skew(1000.0)


def test_a_split_that_leaves_a_client_empty_is_drawn_again_or_refused():
    assert all(len(part) for seed in range(30) for part in quantity(LABELS[:20], 4, seed, 0.3))
    with pytest.raises(BaselineError, match="one of 9 clients gets no row"):
        dirichlet(LABELS[:8], 9, 0, 0.1)
    with pytest.raises(BaselineError, match="no client owns class 4"):
        by_class(LABELS, ((0, 1), (2, 3)), 0)


def test_the_callers_random_numbers_do_not_move():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    [split(0) for split in SPLITS.values()]
    assert torch.equal(torch.rand(2), expected)
