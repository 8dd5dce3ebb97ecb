"""A tiny real run of one track: a teacher, honest arms, and arms whose train.py has one fault each.

Nothing is made up: rows, weights, traces and predictions come from the processes' own code, run here.
"""

import dataclasses
import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from agent.plan.method import Method
from agent.plan.plan import ModelSpec, Plan, Task, TeacherTraining, Track, Training
from agent.record.prepared import Prepared
from agent.results.compare import decide
from agent.results.evidence import Evidence, TrialRecord
from agent.results.executed import fields
from agent.results.guards import guards
from agent.results.schema import Comparison, FieldRow, Guard
from agent.results.score import score
from sandbox.checks.check import check
from tests.baselines.lab import METHOD, SIZES, TEMPLATES, TRAINING, TRAINS, Lab, here

OPTIMIZERS = "optimizers=experiment.optimizer(experiment.student)"
ARGUMENTS = "args=experiment.training_arguments()"
TRAINING_ENDS = f"    {TRAINS}\n    return trainer.model\n"
STUDENT = "    trainer = DistillationTrainer("
WRONG: dict[str, tuple[tuple[str, str], ...]] = {
    "rate": ((OPTIMIZERS, "optimizers=_faster(*experiment.optimizer(experiment.student))"),),
    "steps": ((ARGUMENTS, "args=_halved(experiment.training_arguments())"),),
    "batch": ((ARGUMENTS, "args=_small(experiment.training_arguments())"),),
    "optimizer": ((OPTIMIZERS, "optimizers=_adam(*experiment.optimizer(experiment.student))"),),
    "untrained": ((TRAINING_ENDS, "    return experiment.student\n"),),
    "derived": ((STUDENT, "    Derived(experiment.student.config)\n" + STUDENT),),
    "plain": ((TRAINING_ENDS, f"    {TRAINS}\n    return _plain()\n"),),
    "two_way": ((STUDENT, "    experiment.student.classifier = nn.Linear(16, 2)\n" + STUDENT),),
    "bare": (("        return (loss, outputs) if return_outputs else loss", "        return outputs.logits"),),
    "bert": (("model(**self.experiment.model_inputs(inputs))", "model.bert(inputs['input_ids'])"),),
    "dropout": ((STUDENT, "    _drop(experiment.student)\n" + STUDENT),),
}
"""Arm → edits of templates/train/kd.py."""
HELPERS = {
    "rate": """
def _faster(optimizer, schedule):
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = 10 * group["initial_lr"]
    schedule.base_lrs = [10 * rate for rate in schedule.base_lrs]
    return optimizer, schedule
""",
    "steps": """
def _halved(args):
    args.max_steps = args.max_steps // 2
    return args
""",
    "batch": """
def _small(args):
    args.per_device_train_batch_size = args.per_device_train_batch_size // 2
    return args
""",
    "optimizer": """
from torch import optim


def _adam(optimizer, schedule):
    adam = optim.Adam(optimizer.param_groups)
    return adam, optim.lr_scheduler.LambdaLR(adam, schedule.lr_lambdas)
""",
    "derived": """
from transformers import AutoModelForSequenceClassification


class Derived(AutoModelForSequenceClassification):
    pass
""",
    "plain": """
from transformers import BertConfig, BertForSequenceClassification


def _plain():
    return BertForSequenceClassification(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
""",
    "two_way": "\nfrom torch import nn\n",
    "dropout": """
from torch import nn


def _drop(student):
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
""",
}
WON = Comparison(
    proposed="proposed",
    benchmark="vanilla_kd",
    metric="accuracy",
    n_seeds=6,
    n_examples=2000,
    mean_proposed=0.9,
    mean_benchmark=0.8,
    difference=0.1,
    low=0.08,
    high=0.12,
    resamples=1000,
    p_sign_flip=0.03125,
    least_p=0.03125,
    p_holm=0.03125,
)
"""A comparison that is "better" as far as its numbers go."""


def verdict(*checks: Guard) -> str:
    return decide(WON, checks, 0.005, 0.05).verdict


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.lab = lab = Lab(root, "text")
        here("prepare", lab.prepare_job())
        here("teacher", lab.teacher_job())
        honest = [lab.unit(arm) for arm in ("student_only", "kd", "kd_selective")]
        faulty = [lab.unit(name, file=self.file(name)) for name in WRONG]
        here("trial", lab.trial_job(*honest, *faulty))
        here("predict", lab.predict_job(*map(lab.answer, self._trained()), self._teacher()))
        for arm in self._trained():
            shutil.copy(lab.logits / arm / "prediction.json", lab.trials / arm / "1" / "test.json")

    def file(self, name: str) -> str:
        source = self.lab.train_file(self.root / "files" / name, "kd", *WRONG[name])
        text = Path(source).read_text()
        Path(source).write_text(text.replace("\n\n\nclass ", f"\n{HELPERS.get(name, '')}\n\nclass ", 1))
        return source

    def said(self, name: str) -> list[str]:
        """What the static check says about a faulty file."""
        source = (self.root / "files" / name / "train.py").read_text()
        return [found.message for found in check(source, (TEMPLATES / "student_only.py").read_text())]

    def _trained(self) -> list[str]:
        return [path.parts[-3] for path in sorted(self.lab.trials.glob("*/1/weights.safetensors"))]

    def _teacher(self) -> dict[str, Any]:
        weights = str(self.lab.teacher / "weights.safetensors")
        return self.lab.answer("teacher", model=self.lab.models["teacher"], weights=weights, seed=0)

    @cached_property
    def facts(self) -> Prepared:
        return Prepared.model_validate_json((self.lab.data / "facts.json").read_text())

    def plan(self, method: str = "kd") -> Plan:
        specs = {who: ModelSpec.model_validate(spec) for who, spec in self.lab.models.items()}
        training = {
            "training": Training(**TRAINING, epochs=1),
            "teacher_training": TeacherTraining(**TRAINING, epochs=2),
        }
        task = Task(
            name="own",
            kind="text",
            source=self.facts.source,
            labels=self.facts.task.labels,
            **SIZES,
            input_size=12,
            hash=self.facts.hash,
            encoded=self.facts.encoded,
        )
        track = Track(
            name="own", task=task, method=Method.model_validate(METHOD | {"name": method}), **specs, **training
        )
        prose = dict.fromkeys(("idea", "title", "objective", "hypothesis", "methodology"), "some words")
        arms = ("student_only", "vanilla_kd")
        return Plan(**prose, scale="demo", tracks=(track,), seeds=(1,), reference_arms=arms, provenance={})

    def record(self, arm: str) -> TrialRecord:
        return TrialRecord(self.lab.trials / arm / "1")

    def evidence(self, arm: str, method: str = "kd", **changes: Any) -> Evidence:
        """What the checks look at when `arm` is the proposed one."""
        plan = self.plan(method)
        arms = {"student_only": "student_only", "vanilla_kd": "kd", "proposed": arm}
        found = Evidence(
            plan=plan,
            track=plan.tracks[0],
            arms={name: [self.record(place)] for name, place in arms.items()},
            accuracies={name: self._accuracies(place) for name, place in arms.items()},
            majority=0.4,
            overlap=0,
            models=self.facts.models,
            answers={"dev": (SIZES["dev_rows"], 3), "test": (SIZES["test_rows"], 3)},
            teacher=TrialRecord(self.lab.teacher),
            assistant=TrialRecord(self.root / "no-assistant"),
            teacher_prediction=json.loads((self.lab.logits / "teacher" / "prediction.json").read_text()),
            teacher_same=True,
            data_same=True,
            probe_file=self.root / "no-probe.json",
        )
        return dataclasses.replace(found, **changes)

    def _accuracies(self, arm: str) -> list[float]:
        logits = self.lab.logits / arm / "logits.safetensors"
        labels = load_file(self.lab.data / "labels" / "test.safetensors")["labels"]
        return [score(load_file(logits)["logits"], labels).accuracy] if logits.exists() else []

    def rows(self, arm: str, method: str = "kd") -> dict[str, FieldRow]:
        return {row.field: row for row in fields(self.evidence(arm, method))}

    def guards(self, arm: str, method: str = "kd", **changes: Any) -> dict[str, Guard]:
        seen = self.evidence(arm, method, **changes)
        return {guard.name: guard for guard in guards(seen, fields(seen))}
