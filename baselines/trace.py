"""What a trial says about itself: append-only JSON lines, written by a callback that reads the live Trainer.

This is evidence from inside the process that edited code runs in. The harness cross-checks what it can from outside.
"""

import json
import math
import time
from typing import TextIO

import torch
from torch import nn
from transformers import TrainerCallback

from baselines import models


class Trace:
    """Lines leave this process as they are written, so that what was said cannot be taken back."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.started = time.monotonic()

    def write(self, event: str, **values) -> None:
        line = {"event": event, "seconds": round(time.monotonic() - self.started, 3)} | values
        self.stream.write(json.dumps(line, allow_nan=False) + "\n")
        self.stream.flush()


class Forwards:
    """Counts what a student is shown while it trains."""

    def __init__(self, student: nn.Module) -> None:
        self.calls = self.rows = 0
        student.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, student: nn.Module, args: tuple, kwargs: dict) -> None:
        if student.training:
            batch = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
            self.calls, self.rows = self.calls + 1, self.rows + len(batch)


class Gradients:
    """The gradient that reaches the teacher's answers in each backward pass: zero where the loss does not use them."""

    def __init__(self) -> None:
        self.norms: list[torch.Tensor] = []
        self.watched = 0

    def watch(self, answers: torch.Tensor) -> torch.Tensor:
        self.watched += 1
        answers.requires_grad_(True).register_hook(lambda gradient: self.norms.append(gradient.detach().norm()))
        return answers

    def facts(self) -> dict[str, float]:
        norms = torch.stack(self.norms).float() if self.norms else torch.zeros(1)
        least, most = (float(norm) if norm.isfinite() else -1.0 for norm in (norms.min(), norms.max()))
        return {"watched": self.watched, "reached": len(self.norms), "least": least, "most": most}


class Updates:
    """Counts every step of the live optimizer; keeps the first learning rate that is not the planned one, and how often
    weights changed between two steps, which is none of the optimizer's doing."""

    def __init__(self, rates: list[float]) -> None:
        self.planned = rates
        self.count = 0
        self.deviation = ""
        self.touched = torch.zeros((), dtype=torch.long)

    def watch(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.parameters = [parameter.detach() for parameter in model.parameters()]
        self.mark = self._norms()
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def compare(self) -> None:
        self.touched = self.touched + (self._norms() != self.mark).any().cpu()

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        self.compare()
        planned = self.planned[self.count] if self.count < len(self.planned) else 0.0
        self.count += 1
        for group in optimizer.param_groups:
            if not self.deviation and not math.isclose(group["lr"], planned, rel_tol=1e-6, abs_tol=1e-15):
                self.deviation = f"{group['lr']:g} instead of {planned:g} at update {self.count}"

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        self.mark = self._norms()

    def _norms(self) -> torch.Tensor:
        return torch.stack(torch._foreach_norm(self.parameters))


class TraceCallback(TrainerCallback):
    """Writes down what the live Trainer really uses, at its start, at each log line and at its end."""

    def __init__(self, experiment) -> None:
        self.experiment = experiment
        self.updates = Updates(experiment.rates())
        self.built = dropouts(experiment.student)

    def on_train_begin(self, args, state, control, *, model, optimizer, lr_scheduler, train_dataloader, **kwargs):
        experiment = self.experiment
        self.updates.watch(model, _inner(optimizer))
        experiment.trace.write(
            "start",
            executed=self._executed(args, optimizer)
            | {
                "steps": state.max_steps,
                "device": args.device.type,
                "threads": torch.get_num_threads(),
                "seed": args.seed,
                "rows": len(train_dataloader.dataset),
                "warmup": _warmup_steps(lr_scheduler, state.max_steps),
            },
            weights=models.fingerprint(experiment.student, experiment.names),
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(f"training diverged: the loss is {logs['loss']} at step {state.global_step}")
            line = {"step": state.global_step, "of": state.max_steps, "loss": logs["loss"]}
            self.experiment.trace.write("log", **line, terms=self.experiment.means())

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        numbers = {name: v for name, v in (metrics or {}).items() if isinstance(v, int | float) and math.isfinite(v)}
        self.experiment.trace.write("claimed", metrics={name: v for name, v in numbers.items() if name != "epoch"})

    def on_train_end(self, args, state, control, *, model, optimizer, **kwargs):
        experiment, collator = self.experiment, self.experiment.collator
        experiment.means()
        self.updates.compare()
        experiment.trace.write(
            "end",
            step=state.global_step,
            executed=self._executed(args, optimizer),
            updates=self.updates.count,
            touched=int(self.updates.touched),
            weights=models.fingerprint(model, experiment.names),
            schedule=self.updates.deviation,
            forwards=experiment.forwards.calls,
            forward_rows=experiment.forwards.rows,
            samples=collator.collated,
            distinct=experiment.distinct(),
            largest=collator.largest,
            reads=experiment.method.reads,
            terms=experiment.terms,
            gradients=experiment.teacher.gradients() if experiment.teacher else {},
            teacher=experiment.teacher.uses() if experiment.teacher else {},
        )

    def _executed(self, args, optimizer) -> dict:
        """Settings that edited code could change on the way, so they are read at the start and at the end."""
        optimizer = _inner(optimizer)
        groups = optimizer.param_groups
        return {
            "learning_rate": _only(group["initial_lr"] for group in groups),
            "weight_decay": max(group["weight_decay"] for group in groups),
            "optimizer": type(optimizer).__name__.lower() + self._unplanned(groups),
            "batch_size": args.train_batch_size,
            "accumulation": args.gradient_accumulation_steps,
            "max_grad_norm": args.max_grad_norm,
            "precision": "bf16" if args.bf16 else "fp32",
            "dropout": "as built" if (live := dropouts(self.experiment.student)) == self.built else str(live),
        }

    def _unplanned(self, groups: list[dict]) -> str:
        """Momentum terms and the like that are not the planned optimizer's own."""
        planned = self.experiment.optimizer(nn.Linear(1, 1))[0].param_groups[0]
        names = ("betas", "eps", "momentum", "nesterov", "amsgrad", "maximize", "dampening")
        odd = {n: g[n] for g in groups for n in names if n in g and n in planned and g[n] != planned[n]}
        return "".join(f" {name}={value}" for name, value in odd.items())


def dropouts(model: nn.Module) -> list[float]:
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]


def _inner(optimizer) -> torch.optim.Optimizer:
    """The optimizer itself, without what Trainer wraps around it."""
    return getattr(optimizer, "optimizer", optimizer)


def _only(values) -> float | list[float]:
    """The value that all share, or all of them."""
    values = list(values)
    return values[0] if len(set(values)) == 1 else values


def _warmup_steps(scheduler, total: int) -> int | None:
    """Steps until the factor first reaches its peak, read from the live schedule; None for one not made of factors."""
    factors = getattr(getattr(scheduler, "scheduler", scheduler), "lr_lambdas", None)
    return max(range(total + 1), key=lambda step: (factors[0](step), -step)) if factors else None
