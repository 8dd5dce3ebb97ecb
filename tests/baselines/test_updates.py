"""What is seen of weights that change between two steps of the optimizer."""

import pytest
import torch
from torch import nn

from baselines.trace import Updates

ROWS, WIDTH, STEPS = 4096, 32, 60


def touched(change) -> int:
    """By a training in which `change` is called with the table before every step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    updates = Updates([1e-3] * STEPS)
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
    assert touched(lambda step, table: None) == 0
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
def test_change_of_a_table_is_seen_in_the_step_in_which_it_is_made(change):
    assert touched(lambda step, table: change(table) if step in (7, 30) else None) == 2


def test_one_row_that_is_changed_behind_autograd_is_seen_every_time():
    assert touched(lambda step, table: table.data[ROWS // 2].mul_(2.0 if step % 2 else 0.5)) == STEPS
