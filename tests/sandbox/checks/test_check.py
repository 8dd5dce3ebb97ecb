"""Each rule against an edit that breaks it and a near miss that does not."""

import ast
import importlib.util
from pathlib import Path

import pytest

from sandbox.checks.check import check
from sandbox.checks.violation import Violation

TEMPLATES = Path(__file__).parents[3] / "templates" / "train"

BEFORE = """
from transformers import Trainer


def train(experiment):
    trainer = Trainer(
        model=experiment.student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(experiment.student),
        callbacks=experiment.callbacks,
    )
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
import torch.nn.functional as F
from transformers import Trainer

from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import feature_loss, layer_pairs


class OwnTrainer(Trainer):
    def __init__(self, experiment, **kwargs):
        super().__init__(**kwargs)
        self.experiment = experiment

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        method = self.experiment.method
        outputs = model(**self.experiment.model_inputs(inputs))
        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = distillation(outputs.logits, inputs["teacher_logits"], method.temperature)
        loss = (1 - method.alpha) * task + method.alpha * soft
        {loss}
        self.experiment.log(task=task, distillation=soft)
        return (loss, outputs) if return_outputs else loss


def train(experiment):
    student, model, method = experiment.student, experiment.student, experiment.method
    held = experiment
    {statement}
    trainer = OwnTrainer(
        experiment,
        model=student,
        args=experiment.training_arguments(),
        train_dataset=experiment.train_dataset,
        data_collator=experiment.collator,
        optimizers=experiment.optimizer(student),
        callbacks=experiment.callbacks,
    )
    trainer.train()
    return student
"""


def inside(statement: str = "pass", loss: str = "pass") -> str:
    """A good train.py with a statement added to `train`, or to `compute_loss`."""
    return INSIDE.replace("{statement}", statement).replace("{loss}", loss.replace("\n", "\n        "))


def rules(source: str) -> set[str]:
    return {finding.rule for finding in check(source, BEFORE)}


def test_realistic_edit_passes() -> None:
    assert check(GOOD, BEFORE) == ()


def test_undefined_names_are_rejected() -> None:
    [finding] = check(inside("head = nn.Linear(4, 4)"), BEFORE)
    assert finding.message.endswith(": `nn` is not defined; define or import it")


@pytest.mark.parametrize("sign", ["\u202e", "\u200b", "\xa0", "\x1b", "\x0c"])
def test_what_is_not_seen_is_rejected_and_its_escape_passes(sign: str) -> None:
    """A prompt and a report show such a sign as its escape, which is another file than the one that runs."""
    escaped = sign.encode("unicode_escape").decode()
    for text, found in ((sign, {"unseen"}), (escaped, set()), ("\t", set()), ("é, α, 蒸", set())):
        source = BEFORE.replace("    trainer.train()\n", f"    seen = 'a{text}b'\n    trainer.train()\n")
        assert rules(source) == found


def test_finding_says_line_and_what_to_do() -> None:
    [finding] = check(BEFORE.replace("trainer = Trainer", "temperature = 4.0\n    trainer = Trainer"), BEFORE)
    assert (finding.line, finding.rule) == (6, "hyperparameter")
    assert finding.message.startswith("line 6: `temperature` is written as a number; read it from the plan")


def test_findings_come_in_the_order_of_lines() -> None:
    found = check(inside("torch.manual_seed(1)\n    eval('1')\n    alpha = 1.0"), BEFORE)
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
    assert "seed" in rules(inside(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "experiment.train_dataset = experiment.transfer_dataset",
        "experiment.plan.steps = 3",
        "experiment.teacher.logits[0] = 0",
        "del experiment.transfer_dataset",
        "setattr(experiment, 'teacher', student)",
        "held.teacher = student",
        "experiment.counter += 1",
        "trainer = Trainer()\n    trainer.experiment.teacher = student",
        "experiment = None",
        "for experiment.step in range(3): pass",
        "experiment.callbacks.clear()",
        "experiment.callbacks.pop()",
        "experiment.method.reads.update(x=9)",
        "experiment.train_dataset.labels.zero_()",
        "experiment.train_dataset.labels.fill(0)",
        "experiment.train_dataset.labels.setflags(write=True)",
        "rows = experiment.train_dataset\n    rows.labels[0] = 1",
        "rows = experiment.train_dataset + experiment.transfer_dataset\n    rows.labels[0] = 1",
        "experiment.teacher.logits.copy_(student)",
        "experiment.teacher.logits.view(-1)[0] = 1",
        "answers = held.teacher.logits\n    answers.mul_(2)",
        "np.copyto(experiment.teacher.logits.numpy(), 0)",
        "np.random.shuffle(experiment.train_dataset.labels)",
        "from numpy import copyto\n    copyto(experiment.teacher.logits.numpy(), 0)",
        "torch.add(student, student, out=experiment.teacher.logits)",
        "torch.nn.init.zeros_(experiment.teacher.logits)",
        "experiment.teacher.model().train()",
        "experiment.teacher.model().requires_grad_(True)",
        "experiment.teacher.model().register_forward_hook(print)",
        "for p in experiment.teacher.model().parameters(): p.requires_grad = True",
        "arguments = experiment.training_arguments()\n    arguments.num_train_epochs = method.alpha",
        "setattr(experiment, 'steps', student)",
        "delattr(experiment, 'callbacks')",
        "def change(rows): rows.labels[0] = 1\n    change(experiment.train_dataset)",
        "def change(rows): rows.labels[0] = 1\n    change(rows=held.train_dataset)",
        "class Own:\n        def __init__(self, e): self.e = e\n        def go(self): self.e.x = 1\n    Own(held)",
        # what it does not offer
        "experiment._training['learning_rate']",
        "experiment.method._values",
        "experiment.teacher._model",
        "held.trace.write('end', step=9)",
        "experiment.out",
        "experiment.logged",
        "experiment.teacher.folder",
        "teacher = experiment.teacher\n    teacher.facts",
        "getattr(experiment, '_training')",
        # the teacher in the student's place
        "student.load_state_dict(experiment.teacher.model().state_dict())",
        "state = experiment.teacher.model().state_dict()\n    student.load_state_dict(state)",
        "student.classifier.weight.data.copy_(experiment.teacher.model().classifier.weight)",
        "if held: return experiment.teacher.model()",
    ],
)
def test_changes_of_experiment_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"experiment"}


@pytest.mark.parametrize(
    "statement",
    [
        "inputs['teacher_logits'] = inputs['labels']",
        "inputs['teacher_logits'].zero_()",
        "inputs['ids'] = inputs['ids']",
    ],
)
def test_changes_of_the_teachers_answers_in_a_batch_are_rejected(statement: str) -> None:
    assert rules(inside(loss=statement)) == {"experiment"}


@pytest.mark.parametrize(
    "statement",
    [
        "student.config.output_hidden_states = True",
        "experiment.student.config.output_hidden_states = True",
        "setattr(experiment.student, 'head', None)",
        "own = {}\n    own['x'] = experiment.teacher",
        "student.classifier.weight.data.zero_()",
        "callbacks = [*experiment.callbacks]\n    callbacks.append(None)",
        "logits = experiment.teacher.logits.clone()\n    logits.mul_(2)",
        "batch = experiment.model_inputs({})\n    batch['output_attentions'] = True",
        "width = experiment.teacher.widths[-1]",
        "order = experiment.teacher.logits.sort(dim=-1)",
        "alpha = getattr(experiment.method, 'alpha', None)",
        "kept = experiment.student.state_dict()\n    student.load_state_dict(kept)",
    ],
)
def test_the_student_and_own_variables_may_be_changed(statement: str) -> None:
    assert rules(inside(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "temperature = 4.0",
        "T = 4",
        "ALPHA: float = 1 - 0.1",
        "kd_temperature, other = 3.0, 1",
        "experiment.training_arguments(num_train_epochs=1)",
        "experiment.optimizer([{'params': [], 'lr': 1e-3}])",
        "experiment.optimizer(student, betas=(0.9, 0.999))",
        "setattr(student, 'beta', -1)",
        "student.alpha = 0.9",
        "student['learning_rate'] = 1e-3",
        "own = {'temperature': 4}",
        "temperature = float('4')",
        "number = 4.0\n    temperature = number",
        "kd_weight = 0.3",
        "tau = 4.0",
        # by position
        "distillation(student, student, 4.0)",
        "distillation(student, student, temperature=float('4'))",
        "number = 4.0\n    distillation(student, student, number)",
        "from baselines.methods import kd\n    kd.distillation(student, student, 4)",
        "layer_pairs('last', len(student), len(student), method.layers)",
        "layer_pairs(method.layer_map, 12, len(student), method.layers)",
        "feature_loss([student], [student], None, None, 'none')",
        "feature_loss([student], [student], norm='none')",
        "experiment.teacher.features({}, layers=(10, 11, 12))",
        "def own(x, y, temperature): return x\n    own(student, student, 4.0)",
        "class Own:\n        def __init__(self, alpha): pass\n    Own(0.5)",
        "def own(x, t): return distillation(x, x, t)\n    own(student, 4.0)",
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
    assert rules(inside(statement)) == {"hyperparameter"}


@pytest.mark.parametrize(
    "statement",
    [
        "loss = 0.5 * task + 0.5 * soft",
        "loss = task + 0.1 * soft",
        "loss = task + soft * 2 * 2",
        "loss = task + soft / 10",
        "loss = task + 4.0**2 * soft",
        "loss = 0 * soft + task",
        "number = 0.5\nloss = task + number * soft",
        "loss = task + 0.5 * distillation(outputs.logits, inputs['teacher_logits'], method.temperature)",
        "soft *= 0.5",
        "soft = soft.mul(0.5)",
        "hint = F.mse_loss(outputs.logits, inputs['x'])\nself.experiment.log(feature=hint)\nloss = 3 * hint",
    ],
)
def test_loss_terms_weighted_by_numbers_are_rejected(statement: str) -> None:
    assert rules(inside(loss=statement)) == {"hyperparameter"}


@pytest.mark.parametrize(
    "statement",
    [
        "loss = 0.5 * method.alpha * soft",
        "loss = (soft + soft) / 2 + task",
        "mixed = 0.5 * (outputs.logits + inputs['teacher_logits'])",
        "progress = 0.5\nself.experiment.log(progress=progress)\nloss = loss * (1 - 0.5 * progress)",
        "loss = soft * soft",
    ],
)
def test_numbers_inside_a_term_or_beside_the_plans_value_pass(statement: str) -> None:
    assert rules(inside(loss=statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "experiment.train_dataset[:500]",
        "(experiment.train_dataset + experiment.transfer_dataset)[:500]",
        "experiment.train_dataset.items[:500]",
        "rows = held.train_dataset\n    rows.labels[10:]",
        "experiment.train_dataset.select(method.layers)",
        "experiment.train_dataset.filter(print)",
        "from torch.utils.data import Subset\n    Subset(experiment.train_dataset, range(5))",
        "torch.utils.data.Subset(experiment.train_dataset, range(5))",
        "from torch.utils.data import random_split",
        "from torch.utils.data import WeightedRandomSampler as Picks",
        "[experiment.train_dataset[i] for i in range(500)]",
        "[experiment.train_dataset[i] for i in range(0, len(experiment.train_dataset), 2)]",
        "[experiment.train_dataset[i] for i in torch.randperm(5)[:3]]",
        "for i in range(500): experiment.train_dataset[i]",
        "import itertools\n    itertools.islice(experiment.train_dataset, 5)",
        "from itertools import islice\n    islice(OwnTrainer(experiment).get_train_dataloader(), 5)",
        "from torch.utils.data import DataLoader\n    DataLoader(experiment.train_dataset)",
        "class Few:\n        def __len__(self): return 500",
        "class Few:\n        def __len__(self): return min(500, len(self.rows))",
    ],
)
def test_parts_of_the_rows_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"rows"}


@pytest.mark.parametrize(
    "statement",
    [
        "first = experiment.train_dataset[0]",
        "counts = [int(row['labels']) for row in experiment.train_dataset]",
        "rows = [experiment.train_dataset[i] for i in range(len(experiment.train_dataset) - 1, -1, -1)]",
        "names = method.signal[:3]",
        "class Mixed:\n        def __len__(self): return len(self.rows)",
    ],
)
def test_looking_at_rows_passes(statement: str) -> None:
    assert rules(inside(statement)) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("callbacks=experiment.callbacks,", ""),
        ("callbacks=experiment.callbacks", "callbacks=[]"),
        ("callbacks=experiment.callbacks", "callbacks=None"),
        ("optimizers=experiment.optimizer(student),", ""),
        ("optimizers=experiment.optimizer(student)", "optimizers=(None, None)"),
        ("data_collator=experiment.collator,", ""),
        ("train_dataset=experiment.train_dataset", "train_dataset=experiment.transfer_dataset"),
        ("train_dataset=experiment.train_dataset", "train_dataset=[{}]"),
        ("args=experiment.training_arguments()", "args=None"),
        ("trainer.train()", "pass"),
        ("trainer.train()", "trainer.train(True)"),
        ("trainer.train()", "trainer.train(resume_from_checkpoint=True)"),
        ("trainer.train()", "trainer.train(resume_from_checkpoint=experiment.task['name'])"),
        ("trainer.train()", "trainer.train(**{'resume_from_checkpoint': 'trainer'})"),
        ("trainer.train()", "trainer.remove_callback(None)\n    trainer.train()"),
        ("trainer.train()", "trainer.args.max_steps = method.layers\n    trainer.train()"),
        ("trainer.train()", "trainer.train_dataset = []\n    trainer.train()"),
        ("trainer.train()", "trainer.evaluate()\n    trainer.train()"),
        ("trainer.train()", "trainer.training_step = print\n    trainer.train()"),
        ("def compute_loss", "training_step = print\n\n    def compute_loss"),
        ("class OwnTrainer(Trainer)", "class Other(Trainer): pass\n\nclass OwnTrainer(Other)"),
    ],
)
def test_trainers_of_ones_own_making_are_rejected(old: str, new: str) -> None:
    source = inside().replace(old, new).replace("def compute_loss", "def training_step", "Other" in new)
    assert source != inside()
    assert rules(source) == {"trainer"}


@pytest.mark.parametrize(
    "argument", ["", "None", "experiment.checkpoint", "resume_from_checkpoint=experiment.checkpoint"]
)
def test_training_may_go_on_from_the_checkpoint_that_was_checked(argument: str) -> None:
    assert rules(inside().replace("trainer.train()", f"trainer.train({argument})")) == set()


@pytest.mark.parametrize("statement", ["self.calls += 1", "self.mean = self.mean + inputs['labels']"])
def test_what_no_checkpoint_holds_is_not_kept_by_a_trainer_that_goes_on(statement: str) -> None:
    source = inside(loss=statement)
    assert rules(source) == set()
    assert rules(source.replace("trainer.train()", "trainer.train(resume_from_checkpoint=experiment.checkpoint)")) == {
        "trainer"
    }


def test_only_the_loss_of_a_trainer_may_be_replaced() -> None:
    trainer = Path(importlib.util.find_spec("transformers").origin).with_name("trainer.py").read_text()
    [made] = (node for node in ast.parse(trainer).body if isinstance(node, ast.ClassDef) and node.name == "Trainer")
    methods = {node.name for node in made.body if isinstance(node, ast.FunctionDef)} - {"__init__", "compute_loss"}
    methods |= {alias.name for node in made.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert len(methods) > 80
    own = ("features_of", "feature_term", "_log_terms", "_get_hidden", "logits", "prepare_student")
    added = "".join(f"def {name}(self, *args): pass\n\n    " for name in (*sorted(methods), *own))
    found = check(inside().replace("def compute_loss", f"{added}def compute_loss"), BEFORE)
    assert {finding.message.split("`")[1] for finding in found} == {f"Trainer.{name}" for name in methods}


@pytest.mark.parametrize(
    "statement",
    [
        "self.args.learning_rate = method.alpha",
        "self.state.max_steps = 1",
        "self.control.should_training_stop = True",
        "self.optimizer.param_groups[0]['lr'] = method.alpha",
        "for group in self.optimizer.param_groups: group['lr'] *= 2",
        "self.lr_scheduler = None",
        "loss.backward()",
        "self.optimizer.step()",
        "torch.autograd.backward(loss)",
    ],
)
def test_settings_of_a_live_trainer_are_left_alone(statement: str) -> None:
    assert "trainer" in rules(inside(loss=statement))


def test_a_file_without_a_trainer_is_rejected() -> None:
    assert rules("def train(experiment):\n    return experiment.student\n") == {"trainer"}


@pytest.mark.parametrize(
    "statement",
    [
        "import transformers\n    transformers.Trainer.evaluate = print",
        "Trainer.evaluate = print",
        "torch.manual = print",
        "F.kl_div = print",
        "base = Trainer\n    base.compute_loss = print",
        "setattr(torch.Tensor, 'item', print)",
        "setattr(F, method.signal, print)",
        "del torch.relu",
        "type(student).forward = print",
        "torch.backends.cudnn.deterministic = False",
        "from baselines.methods import heads\n    heads.BERT['x'] = 1",
    ],
)
def test_patched_libraries_are_rejected(statement: str) -> None:
    assert "patch" in rules(inside(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "getattr(torch, method.signal)()",
        "getattr(torch, 'lo' + 'ad')('x')",
        "getattr(experiment, method.signal)",
        "getattr(method, 'al' + 'pha')",
        "getattr(type(student), method.signal)",
        "list(map(getattr, [], []))",
        "match train:\n        case object(__globals__=found): pass",
        "import typing\n    typing.get_type_hints(model)",
        "from typing import get_type_hints as hints\n    hints(model)",
        "bytes.fromhex('6576616c')",
        "torch.multiprocessing.spawn(print)",
        "import torch.multiprocessing as many\n    many.Process()",
        "torch.distributed.init_process_group()",
        "torch._C",
        "contextlib._collections_abc",
        "torch.utils.cpp_extension.load()",
        "torch.ops.load_library('x')",
        "import dataclasses\n    dataclasses.inspect.stack()",
        "from torch import serialization as s\n    s.io",
        "from torch.utils.benchmark import Timer\n    Timer('1').timeit(1)",
        "import torch.utils.benchmark as watch\n    watch.Timer('1')",
        "from torch import fx\n    [fx][0].Graph().on_generate_code(None)",
        "torch.jit.script(train)",
        "torch.nn.modules.module.torch.fx",
    ],
)
def test_computed_access_and_processes_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"call"}


@pytest.mark.parametrize(
    "statement",
    [
        "getattr(student, method.signal)",
        "getattr(torch, 'relu')(model)",
        "setattr(student, method.signal, None)",
        "x = method.signal == 'hidden'",
    ],
)
def test_access_by_name_passes(statement: str) -> None:
    assert rules(inside(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "x = '/etc/passwd'",
        "x = '../labels/test.safetensors'",
        "x = f'/data/{method.signal}'",
        "x = 'labels.npy'",
        "x = 'https://huggingface.co/x'",
        "x = 'test'",
        "x = {'split': 'test_labels'}",
        "getattr(torch, 'load')('x')",
        "student.save_pretrained('x')",
        "trainer = OwnTrainer(experiment)\n    trainer.save_model('x')",
    ],
)
def test_files_and_test_rows_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"data"}


@pytest.mark.parametrize(
    "statement",
    ["print('loss/kd')", "x = 'a test of text'", "x = 'docs: /a/b'", "x = f'{method.signal}/{student}'"],
)
def test_other_words_pass(statement: str) -> None:
    assert rules(inside(statement)) == set()


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
    assert rules(inside(statement)) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import os",
        "import torchvision",
        "import baselines.scoring",
        "from baselines.processes import trial",
        "from . import secrets",
        "from datasets import Dataset",
        "import random",
    ],
)
def test_other_imports_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"import"}


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
    assert rules(inside(statement)) == {"call"}


@pytest.mark.parametrize(
    "statement",
    ["model.eval()", "torch.compile(model)", "x = lambda input: input + 1", "contextlib.nullcontext()"],
)
def test_methods_with_similar_names_pass(statement: str) -> None:
    assert rules(inside(statement)) == set()


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
    assert rules(inside(statement)) == {"data"}


@pytest.mark.parametrize(
    "statement",
    [
        "().__class__.__bases__",
        "(x for x in ()).gi_frame.f_back.f_builtins",
        "train.__globals__",
        "object.__subclasses__()",
        "object.__setattr__(student, 'x', 1)",
        "getattr(student, '__dict__')",
        "__builtins__",
    ],
)
def test_dunders_are_rejected(statement: str) -> None:
    assert rules(inside(statement)) == {"dunder"}


@pytest.mark.parametrize("statement", ["print(type(student).__name__)", "getattr(student, 'head', None)"])
def test_ordinary_names_pass(statement: str) -> None:
    assert rules(inside(statement)) == set()


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


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.py")), ids=lambda path: path.stem)
def test_finished_files_of_the_library_pass(path: Path) -> None:
    assert check(path.read_text(), BEFORE) == ()


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
    assert "entry" in rules(source)


def test_syntax_error_names_line_and_column() -> None:
    [finding] = check("def train(experiment):\n    return (\n", BEFORE)
    assert finding == Violation(2, "syntax", finding.message)
    assert finding.message.startswith("line 2: column 12: ")


@pytest.mark.parametrize("source", ["x = 1\0", "x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "x" + ".a" * 100_000])
def test_sources_made_to_break_the_parser_are_findings(source: str) -> None:
    assert "syntax" in rules(source) or "entry" in rules(source)
