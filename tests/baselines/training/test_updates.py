"""What is seen of weights that change between two steps of the optimizer."""

from itertools import product

import pytest
import torch
from torch import nn

from baselines.training import trace
from baselines.training.trace import SMALL, Updates, _bits

ROWS, WIDTH, STEPS = 4096, 32, 60


class OnCard(Updates):
    """Which looks at weights as it does where they lie on a graphics card."""

    def watch(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().watch(model, optimizer)
        self.parts = self._pieces([weight.detach() for weight in self.weights])
        self._mark()


def touched(change, kind: type[Updates] = Updates) -> int:
    """By a training in which `change` is called with the table before every step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    updates = kind([1e-3] * STEPS)
    updates.watch(model, optimizer)
    for step in range(STEPS):
        model(torch.arange(16)).sum().backward()
        change(step, model[0].weight)
        optimizer.step()
        optimizer.zero_grad()
    updates.finish(model)
    assert updates.count == STEPS and updates.deviation == ""
    return int(updates.touched)


def test_training_alone_touches_nothing_and_draws_no_random_number_of_the_trainings():
    assert touched(lambda step, table: None) == touched(lambda step, table: None, OnCard) == 0
    torch.manual_seed(0)
    model, before = nn.Linear(300, 300), torch.get_rng_state()
    Updates([]).watch(model, torch.optim.SGD(model.parameters(), lr=1.0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.data.mul_(1.01),
        lambda table: table.data[::2].mul_(1.001),
        lambda table: table.data[:, 0].mul_(1.001),
        lambda table: setattr(table, "data", table.data.clone()),
        lambda table: table.detach()[ROWS // 2].neg_(),
        lambda table: table.detach().copy_(table.detach().flip(0)),
    ],
    ids=["all of it", "every other row", "a column", "other memory", "one row", "the same rows, reversed"],
)
@pytest.mark.parametrize("kind", [Updates, OnCard])
def test_change_of_a_table_is_seen_in_the_step_in_which_it_is_made(change, kind):
    assert touched(lambda step, table: change(table) if step in (7, 30) else None, kind) == 2


@pytest.mark.parametrize("kind", [Updates, OnCard])
def test_one_row_that_is_changed_behind_autograd_is_seen_every_time(kind):
    assert touched(lambda step, table: table.data[ROWS // 2].mul_(2.0 if step % 2 else 0.5), kind) == STEPS


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.data[5, 7].copy_(torch.nextafter(table.data[5, 7], torch.tensor(9.0))),
        lambda table: table.data[5, 7].neg_(),
        lambda table: table.data[5].copy_(table.data[5].flip(0)),
        lambda table: table.data[:2].copy_(table.data[:2].flip(0)),
    ],
    ids=["the last bit of one number", "the sign of one number", "a row reversed", "two rows exchanged"],
)
def test_bits_show_what_norms_do_not(change):
    seen = [touched(lambda step, table: change(table) if step in (7, 30) else None, kind) for kind in (Updates, OnCard)]
    assert seen[0] == 2 > seen[1]


def test_a_small_weight_shows_even_numbers_that_change_places():
    row = torch.randn(1, 2 * SMALL)
    before, after = _bits(row), _bits(row.roll(2))  # two numbers are eight bytes
    assert torch.equal(before.sum(), after.sum()) and not torch.equal(before, after)
    assert _bits(torch.randn(1, 2 * SMALL + 2)).shape == (1, SMALL + 1)


@pytest.mark.parametrize(
    "weight",
    [
        torch.randn(4, 6),
        torch.randn(3),
        torch.randn(()),
        torch.randn(3, 3),
        torch.randn(6, 4).t(),
        torch.randn(7)[1:],
        torch.randn(5, 3, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(4, 5).bfloat16(),
        torch.randn(4, 5).double(),
        torch.randn(3, 6)[:, ::2],
    ],
    ids=lambda weight: f"{tuple(weight.shape)} {tuple(weight.stride())} {weight.dtype}",
)
@pytest.mark.parametrize("small", [0, SMALL])
def test_every_number_of_a_weight_is_among_its_bits_whatever_its_layout(weight, small, monkeypatch):
    monkeypatch.setattr(trace, "SMALL", small)
    rows = _bits(weight)
    for place in product(*map(range, weight.shape)):
        before = rows.sum(dim=-1)
        weight[place] += 1.0
        assert not torch.equal(rows.sum(dim=-1), before)


@pytest.mark.parametrize("weight", [torch.randn(4, 6)[:, ::2], torch.randn(4, 1).expand(4, 4)], ids=["gaps", "shared"])
def test_weight_whose_memory_has_gaps_is_refused_rather_than_overlooked(weight):
    with pytest.raises(RuntimeError):
        _bits(weight)
