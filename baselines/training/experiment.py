"""The objects train.py is given: data, models, training settings and the teacher, all built from the frozen plan.

The file that trains decides how a loss is made of them; nothing here can be set from there.
"""

import inspect
import json
import math
import zlib
from pathlib import Path
from typing import TextIO

import torch
from torch import nn
from transformers import TrainingArguments, get_scheduler

from baselines.data.collator import Collator
from baselines.data.job_rows import splits
from baselines.errors import BaselineError
from baselines.methods.matching import uses
from baselines.models.build import build
from baselines.models.by_length import in_parts
from baselines.models.compiled import compiled
from baselines.models.device import DEVICE
from baselines.models.fingerprint import fingerprint
from baselines.randomness import undrawn
from baselines.training import checkpoints
from baselines.training.cached_teacher import Teacher
from baselines.training.trace import Forwards, Trace, TraceCallback
from baselines.training.trainer_shortcuts import LeanCallback

PEER_SIZES = ("layers", "width", "heads")


class Settings:
    """The plan's method values, read-only; counts how often each is read, as evidence that it was used."""

    def __init__(self, values: dict) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "reads", {})

    def __getattr__(self, name: str):
        if name not in self._values:
            raise AttributeError(f"the plan has no method setting {name!r}; it has {', '.join(sorted(self._values))}")
        self.reads[name] = self.reads.get(name, 0) + 1
        return self._values[name]

    def __setattr__(self, name: str, value) -> None:
        raise AttributeError(f"experiment.method.{name} is fixed by the plan")


class Experiment:
    """One trial: one arm, one track, one seed."""

    def __init__(self, job: dict, unit: dict, seed: int, out: Path, trace: TextIO) -> None:
        self.task = json.loads((Path(job["seen"]) / "task.json").read_text())
        self.seed, self.out = seed, out
        self.steps = job["steps"]
        self.checkpoint = checkpoints.newest(out / "trainer")
        self.continued = 0
        """The step that training went on from, where a process that was cut off had come so far."""
        self.trace = Trace(trace)
        self.method = Settings(unit["method"])
        self.teacher = Teacher(job["teacher"], self.task, unit.get("ablate", "")) if unit["teacher"] else None
        self._model, self._training, self._checkpoints = unit["model"], unit["training"], job["checkpoints"]
        self.student = self._student(self._model, seed)
        self.peers: list[nn.Module] = []
        self.names = tuple(self.student.state_dict())
        self.initial = fingerprint(self.student)
        self.forwards = Forwards(self.student)
        self.train_dataset, transfer, generated = splits(job, unit, self.task["kind"])
        self.transfer_dataset = transfer + generated
        self.parts = {"train": self.train_dataset, "transfer": transfer} | (
            {"generated": generated} if len(generated) else {}
        )
        """The rows apart, to be counted."""
        joined = self.teacher and (self.teacher.logits is not None or "logits" in uses(unit["method"]))
        answers = self.teacher.answers if joined else None
        self.collator = Collator(self.task, answers, view=seed, turning=True, device=DEVICE)
        self.logged: dict[str, list] = {}
        self.terms: dict[str, dict[str, int]] = {}
        self._accepted = set(inspect.signature(self.student.forward).parameters) - {"labels"}
        self.callbacks = [LeanCallback(), TraceCallback(self)]

    def training_arguments(self) -> TrainingArguments:
        """The plan's training settings, with the Trainer's own reports switched off."""
        training, logged = self._training, max(1, self.steps // 20)
        save = checkpoints.every(self.steps, self._checkpoints, logged)
        return TrainingArguments(
            output_dir=str(self.out / "trainer"),
            max_steps=self.steps,
            per_device_train_batch_size=training["batch_size"],
            gradient_accumulation_steps=training["accumulation"],
            learning_rate=training["learning_rate"],
            weight_decay=training["weight_decay"],
            max_grad_norm=training["max_grad_norm"],
            bf16=training["precision"] == "bf16",
            seed=self.seed,
            data_seed=self.seed,
            train_sampling_strategy="random",
            dataloader_drop_last=len(self.train_dataset) >= training["batch_size"],  # BatchNorm cannot train on one row
            remove_unused_columns=False,  # the loss needs ids and teacher_logits, which no forward takes
            logging_steps=logged,
            logging_nan_inf_filter=False,  # a NaN must be seen, and the filter syncs at every step
            use_cpu=not torch.cuda.is_available(),
            accelerator_config={"non_blocking": torch.cuda.is_available()},  # else each tensor of a batch waits for it
            save_strategy="steps" if save else "no",
            save_steps=save or self.steps,
            save_total_limit=2,  # the older one is there while the newer is written
            report_to="none",
            disable_tqdm=True,
        )

    def optimizer(self, model: nn.Module):
        """The plan's optimizer over every parameter of `model`, and its schedule: what Trainer's `optimizers` takes."""
        training = self._training
        plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]  # biases and norms: never decayed
        decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        groups = [
            {"params": decayed, "weight_decay": training["weight_decay"]},
            {"params": plain, "weight_decay": 0.0},
        ]
        rate = {"lr": training["learning_rate"], "fused": True}
        if training["optimizer"] == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True, **rate)
        else:
            optimizer = (torch.optim.Adam if training["optimizer"] == "adam" else torch.optim.AdamW)(groups, **rate)
        schedule = training["schedule"].replace("constant", "constant_with_warmup")
        return optimizer, get_scheduler(schedule, optimizer, round(training["warmup"] * self.steps), self.steps)

    def rates(self) -> list[float]:
        """The planned learning rate of each step."""
        schedule = self.optimizer(nn.Linear(1, 1))[1]
        return [self._training["learning_rate"] * schedule.lr_lambdas[0](step) for step in range(self.steps)]

    def model_inputs(self, inputs: dict) -> dict:
        """The part of a batch that the student's forward accepts; never the labels."""
        return {name: value for name, value in inputs.items() if name in self._accepted}

    def peer(self, number: int, **sizes: float) -> nn.Module:
        """A model of the student's plan whose new weights the trial's seed and `number` decide; nothing else is drawn.

        With other `sizes` (layers, width, heads) no checkpoint fits: all of its weights are new. Raises BaselineError
        for a size that is none of these.
        """
        if unknown := sizes.keys() - PEER_SIZES:
            raise BaselineError(f"a peer has no size {sorted(unknown)[0]!r}", f"give {', '.join(PEER_SIZES)}")
        spec = self._model | sizes | ({"checkpoint": ""} if sizes else {})
        with undrawn():
            drawn = zlib.crc32(f"peer {number} of {self.seed}".encode())
            self.peers.append(self._student(spec, drawn))
        return self.peers[-1]

    def _student(self, spec: dict, seed: int) -> nn.Module:
        model = build(spec, self.task, seed)
        return in_parts(compiled(model) if self._training["compiled"] else model)

    def log(self, **terms) -> None:
        """Record loss terms by name. Tensors stay on the device until the next log line, so nothing waits for them."""
        for name, value in terms.items():
            self.logged.setdefault(name, []).append(value.detach() if isinstance(value, torch.Tensor) else value)

    def means(self) -> dict[str, float | None]:
        """Mean of each logged term since the last call, None where it is not finite; counts terms and their zeros."""
        logged, self.logged = self.logged, {}
        return {name: self._mean(name, values) for name, values in logged.items()}

    def _mean(self, name: str, values: list) -> float | None:
        numbers = torch.stack([torch.as_tensor(value, dtype=torch.float32).mean() for value in values])
        counts = self.terms.setdefault(name, {"count": 0, "zeros": 0})
        counts["count"] += len(numbers)
        counts["zeros"] += int((numbers == 0).sum())
        mean = float(numbers.mean())
        return mean if math.isfinite(mean) else None

    def distinct(self) -> dict[str, int]:
        """Different rows that batches were made of, per split."""
        seen = self.collator.seen.numpy()
        return {name: int((seen[rows.ids[rows.ids < len(seen)]] > 0).sum()) for name, rows in self.parts.items()}
