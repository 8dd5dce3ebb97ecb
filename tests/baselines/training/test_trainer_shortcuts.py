"""While a model trains its modules and parameters are listed once, and everything else is as before."""

import copy

import accelerate.optimizer
import pytest
import torch
from accelerate import Accelerator

from baselines.models.build import build
from baselines.training.trainer_shortcuts import LeanCallback

SPEC = {"architecture": "bert", "checkpoint": "", "stem": "", "layers": 1, "width": 8, "heads": 1, "dropout": 0.0}
TASK = {"kind": "text", "labels": ["a", "b"], "vocabulary": 12, "padding": 0, "input_size": 6}


@pytest.fixture
def model() -> torch.nn.Module:
    made = build(SPEC, TASK, seed=0)
    LeanCallback().on_train_begin(None, None, None, model=made)
    return made


def test_they_are_the_same_parameters_in_the_same_order(model) -> None:
    assert [*map(id, model.parameters())] == [id(value) for _, value in model.named_parameters()]
    assert [*model.parameters(recurse=False)] == [*torch.nn.Module.parameters(model, recurse=False)]
    for asked in ({}, {"exclude_embeddings": True}, {"only_trainable": True}):
        assert model.num_parameters(**asked) == type(model).num_parameters(model, **asked)


def test_every_module_is_put_into_the_mode_that_is_asked_for_also_one_that_was_in_another(model) -> None:
    part = [*model.modules()][-1]
    for mode in (True, False, True):
        assert model.train(mode) is model
        assert {module.training for module in model.modules()} == {mode}
        part.train(not mode)
        assert model.train(mode) is model and part.training is mode
    assert not model.eval().training


def test_a_copy_that_is_made_meanwhile_has_its_own(model) -> None:
    """A method may keep a frozen copy of its student: to freeze it must not freeze the student."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    frozen.eval()
    assert model.training and not frozen.training and not any(module.training for module in frozen.modules())
    assert {*map(id, frozen.parameters())}.isdisjoint(map(id, model.parameters()))


def test_afterwards_nothing_is_left(model) -> None:
    LeanCallback().on_train_end(None, None, None, model=model)
    model.more = torch.nn.Linear(1, 1)
    assert len([*model.parameters()]) == len([*model.named_parameters()])
    model.eval()
    assert not model.more.training
    assert not {"parameters", "train", "num_parameters"} & vars(model).keys()


def test_a_package_that_is_not_there_is_looked_for_once_in_a_training(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(accelerate.optimizer, "is_lomo_available", lambda: asked.append(1))
    look = accelerate.optimizer.is_lomo_available
    weight = torch.nn.Linear(1, 1)
    rule = Accelerator(cpu=True).prepare(torch.optim.SGD(weight.parameters(), lr=0.1))
    lean = LeanCallback()
    for training in (1, 2):
        lean.on_train_begin(None, None, None, model=weight)
        for _ in range(5):
            rule.step()
        assert len(asked) == training
        lean.on_train_end(None, None, None, model=weight)
    assert accelerate.optimizer.is_lomo_available is look
