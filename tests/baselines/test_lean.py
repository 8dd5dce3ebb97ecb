"""While a model trains its parameters are listed once, and everything else is as before."""

import copy

import pytest
import torch

from baselines import models
from baselines.lean import LeanCallback

SPEC = {"architecture": "bert", "checkpoint": "", "stem": "", "layers": 1, "width": 8, "heads": 1, "dropout": 0.0}
TASK = {"kind": "text", "labels": ["a", "b"], "vocabulary": 12, "padding": 0, "input_size": 6}


@pytest.fixture
def model() -> torch.nn.Module:
    made = models.build(SPEC, TASK, seed=0)
    LeanCallback().on_train_begin(None, None, None, model=made)
    return made


def test_they_are_the_same_parameters_in_the_same_order(model) -> None:
    assert [*map(id, model.parameters())] == [id(value) for _, value in model.named_parameters()]
    assert [*model.parameters(recurse=False)] == [*torch.nn.Module.parameters(model, recurse=False)]
    for asked in ({}, {"exclude_embeddings": True}, {"only_trainable": True}):
        assert model.num_parameters(**asked) == type(model).num_parameters(model, **asked)


def test_a_copy_that_is_made_meanwhile_has_its_own(model) -> None:
    """A method may keep a frozen copy of its student: to freeze it must not freeze the student."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {*map(id, frozen.parameters())}.isdisjoint(map(id, model.parameters()))


def test_afterwards_nothing_is_left(model) -> None:
    LeanCallback().on_train_end(None, None, None, model=model)
    model.more = torch.nn.Linear(1, 1)
    assert len([*model.parameters()]) == len([*model.named_parameters()])
    assert not {"parameters", "num_parameters"} & vars(model).keys()
