"""Each rule against an edit that breaks it and a near miss that does not."""

import pytest

from sandbox.checks import Finding, check

BEFORE = """
from transformers import Trainer


def train(experiment):
    trainer = Trainer(model=experiment.student, args=experiment.training_arguments())
    trainer.train()
    return experiment.student
"""

GOOD = '''"""Distillation from logits and features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import ConcatDataset
from transformers import Trainer

from baselines.methods.kd import cross_entropy, distillation


@dataclass(frozen=True)
class Terms:
    task: torch.Tensor
    distilled: torch.Tensor


class Head(nn.Module):
    def __init__(self, widths: Sequence[int], eps: float = 1e-6) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.eps = eps

    def forward(self, input):
        for layer in self.maps:
            input = F.relu(layer(input)) + self.eps
        return input


class KDTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment
        self.temperature = experiment.method.temperature
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        alpha = self.experiment.method.alpha
        outputs = model(**self.experiment.model_inputs(inputs), output_hidden_states=True)
        task = cross_entropy(outputs.logits, inputs["labels"])
        distilled = distillation(outputs.logits, inputs["teacher_logits"], self.temperature)
        progress = min(1.0, self.state.global_step / max(1, self.state.max_steps))
        loss = (1 - alpha) * task + alpha * 0.5 * (1 + math.cos(math.pi * progress)) * distilled
        self.experiment.log(task=task, distillation=distilled, kind=type(outputs).__name__)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student = experiment.student
    student.config.output_hidden_states = True
    experiment.student.head = Head([len(np.zeros(4)), 4])
    student.eval()
    with torch.no_grad():
        weights = torch.compile(student.get_input_embeddings()).weight.mean()
    data = experiment.train_dataset
    if len(experiment.transfer_dataset):
        data = ConcatDataset([data, experiment.transfer_dataset])
    trainer = KDTrainer(
        experiment,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=data,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),
        callbacks=experiment.callbacks,
    )
    trainer.train()
    experiment.log(weights=weights, seed=experiment.seed)
    del student.head
    return student
'''

INSIDE = """
import contextlib
import math

import numpy as np
import torch
from transformers import Trainer


def train(experiment):
    student, model, method = experiment.student, experiment.student, experiment.method
    held = experiment
    {}
    return student
"""


def rules(source: str) -> set[str]:
    return {finding.rule for finding in check(source, BEFORE)}


def test_realistic_edit_passes() -> None:
    assert check(GOOD, BEFORE) == ()


def test_finding_says_line_and_what_to_do() -> None:
    [finding] = check(BEFORE.replace("trainer.train()", "temperature = 4.0"), BEFORE)
    assert (finding.line, finding.rule) == (7, "hyperparameter")
    assert finding.message.startswith("line 7: `temperature` is written as a number; read it from the plan")


def test_findings_come_in_the_order_of_lines() -> None:
    found = check(INSIDE.format("torch.manual_seed(1)\n    eval('1')\n    alpha = 1.0"), BEFORE)
    assert [finding.rule for finding in found] == ["seed", "call", "hyperparameter"]


@pytest.mark.parametrize(
    "statement",
    [
        # seeds
        "torch.manual_seed(137)",
        "torch.cuda.manual_seed_all(137)",
        "np.random.seed(137)",
        "np.random.default_rng(137)",
        "torch.Generator().manual_seed(137)",
        "again = torch.manual_seed\n    again(137)",
        "from torch import manual_seed as noise\n    noise(137)",
        "from transformers import set_seed",
    ],
)
def test_seeds_are_rejected(statement: str) -> None:
    assert "seed" in rules(INSIDE.format(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "experiment.train_dataset = experiment.train_dataset.select(range(10))",
        "experiment.plan.steps = 3",
        "experiment.teacher.logits[0] = 0",
        "del experiment.dev_dataset",
        "setattr(experiment, 'teacher', student)",
        "held.teacher = student",
        "experiment.counter += 1",
        "trainer = Trainer()\n    trainer.experiment.teacher = student",
        "experiment = None",
        "for experiment.step in range(3): pass",
    ],
)
def test_changes_of_experiment_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"experiment"}


@pytest.mark.parametrize(
    "statement",
    [
        "student.config.output_hidden_states = True",
        "experiment.student.config.output_hidden_states = True",
        "setattr(experiment.student, 'head', None)",
        "own = {}\n    own['x'] = experiment.teacher",
    ],
)
def test_the_student_and_own_variables_may_be_changed(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "temperature = 4.0",
        "T = 4",
        "ALPHA: float = 1 - 0.1",
        "kd_temperature, other = 3.0, 1",
        "method.alpha = 0.9",
        "method['learning_rate'] = 1e-3",
        "experiment.training_arguments(num_train_epochs=1)",
        "experiment.optimizer([{'params': [], 'lr': 1e-3}])",
        "experiment.optimizer(student, betas=(0.9, 0.999))",
        "setattr(method, 'beta', -1)",
        "alpha = method.alpha\n    alpha *= 0.5",
        "if (max_steps := 10): pass",
        "loss = lambda x, temperature=4.0: x",
        "def loss(x, *, alpha=0.5): return x",
        "from transformers import TrainingArguments as Settings\n    Settings('out')",
        "torch.optim.AdamW(student.parameters())",
        "from torch import optim\n    optim.lr_scheduler.ConstantLR(None)",
        "class Mine(torch.optim.SGD): pass",
        "import transformers\n    transformers.get_linear_schedule_with_warmup(None, 1, 2)",
    ],
)
def test_hyperparameters_of_ones_own_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"hyperparameter"}


@pytest.mark.parametrize(
    "statement",
    [
        "temperature = method.temperature",
        "alpha = method.alpha * (1 + math.cos(0.5))",
        "epoch = 0",
        "weights = [0.25, 0.75]",
        "torch.optim.swa_utils.AveragedModel(student)",
        "ok = isinstance(experiment.optimizer(student)[0], torch.optim.Optimizer)",
        "def loss(x, temperature): return x / temperature",
    ],
)
def test_values_from_the_plan_and_other_numbers_pass(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import os",
        "import torchvision",
        "import baselines.scoring",
        "from baselines import trial",
        "from . import secrets",
        "from datasets import Dataset",
        "import random",
    ],
)
def test_other_imports_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"import"}


def test_star_imports_are_rejected() -> None:
    assert rules("from torch import *\n" + BEFORE) == {"import"}


@pytest.mark.parametrize(
    "statement",
    [
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "open('x')",
        "input()",
        "breakpoint()",
        "list(map(eval, []))",
        "__import__('os')",
        "vars(method)",
        "globals()",
        "torch.os.system('x')",
    ],
)
def test_calls_that_leave_the_file_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"call"}


@pytest.mark.parametrize(
    "statement",
    ["model.eval()", "torch.compile(model)", "x = lambda input: input + 1", "contextlib.nullcontext()"],
)
def test_methods_with_similar_names_pass(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "torch.load('x')",
        "torch.save(student, 'x')",
        "torch.hub.load('a', 'b')",
        "np.load('x')",
        "np.savez('x')",
        "type(student).from_pretrained('x')",
        "from transformers import AutoModel\n    AutoModel.from_pretrained('x')",
        "from torch import load as fetch\n    fetch('x')",
    ],
)
def test_data_and_weights_from_elsewhere_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"data"}


@pytest.mark.parametrize(
    "statement",
    [
        "().__class__.__bases__",
        "train.__globals__",
        "object.__subclasses__()",
        "object.__setattr__(student, 'x', 1)",
        "getattr(student, '__dict__')",
        "__builtins__",
    ],
)
def test_dunders_are_rejected(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == {"dunder"}


@pytest.mark.parametrize("statement", ["print(type(student).__name__)", "getattr(student, 'head', None)"])
def test_ordinary_names_pass(statement: str) -> None:
    assert rules(INSIDE.format(statement)) == set()


@pytest.mark.parametrize(
    "source",
    [
        "# a comment\n" + BEFORE,
        BEFORE.replace("def train(experiment):", 'def train(experiment):\n    """Now documented."""'),
        BEFORE.replace("Trainer(model", "Trainer(\n        model"),
    ],
)
def test_edit_without_effect_is_no_change(source: str) -> None:
    assert rules(source) == {"no_change"}


def test_changed_constant_is_a_change() -> None:
    assert check(BEFORE.replace("trainer.train()", "trainer.train(None)"), BEFORE) == ()


def test_a_broken_old_version_does_not_count_against_the_new_one() -> None:
    assert check(BEFORE, "def train(:") == ()


@pytest.mark.parametrize(
    "source",
    [
        BEFORE.replace("def train(experiment)", "def train(experiment, more)"),
        BEFORE.replace("def train", "def fit"),
        "class Holder:" + BEFORE.replace("\n", "\n    "),
    ],
)
def test_missing_entry_point_is_rejected(source: str) -> None:
    assert rules(source) == {"entry"}


def test_syntax_error_names_line_and_column() -> None:
    [finding] = check("def train(experiment):\n    return (\n", BEFORE)
    assert finding == Finding(2, "syntax", finding.message)
    assert finding.message.startswith("line 2: column 12: ")


@pytest.mark.parametrize("source", ["x = 1\0", "x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "x" + ".a" * 100_000])
def test_sources_made_to_break_the_parser_are_findings(source: str) -> None:
    assert "syntax" in rules(source) or "entry" in rules(source)
