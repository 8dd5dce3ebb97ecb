"""A trial's report about itself: append-only JSON lines, written by a callback that reads the live Trainer.

This is evidence from inside the process that edited code runs in. The harness cross-checks what it can from outside.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import torch
from torch import nn
from transformers import TrainerCallback

from baselines.methods.dpkd import Frozen
from baselines.models.compiled import is_compiled
from baselines.models.fingerprint import fingerprint
from baselines.training import checkpoints

COUNTED = {
    "forwards": ("calls", "rows"),
    "updates": ("count", "deviation", "touched", "contents"),
    "collator": ("seen", "shown", "collated", "largest"),
    "method": ("reads",),
    "experiment": ("terms",),
    "teacher": ("forwards", "calls", "cached_reads"),
    "logits": ("watched", "reached", "least", "most"),
    "features": ("watched", "reached", "least", "most"),
}
"""The counts that a continued trial starts from."""
SMALL = 1024
"""Eights of bytes of a weight that is copied sooner than added up."""


class Trace:
    """Lines leave this process as they are written, so that what was said cannot be taken back."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.started = time.monotonic()
        self.lines: list[str] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def write(self, event: str, **values) -> None:
        line = {"event": event, "seconds": round(self.seconds, 3)} | values
        self._say([json.dumps(line, allow_nan=False)])

    def go_on(self, lines: list[str], seconds: float) -> None:
        """Say again what a process that was cut off had said until its checkpoint."""
        self.started = time.monotonic() - seconds
        self._say(lines)

    def _say(self, lines: list[str]) -> None:
        self.lines += lines
        self.stream.write("".join(f"{line}\n" for line in lines))
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
        self.watched = self.reached = 0
        self.least, self.most = torch.tensor(math.inf), torch.tensor(-math.inf)

    def watch(self, answers: torch.Tensor) -> torch.Tensor:
        self.watched += 1
        return self.follow(answers)

    def follow(self, answers: torch.Tensor) -> torch.Tensor:
        """Answers that were watched before they were moved: a gradient that came back from where they are now would
        have each backward pass wait for it."""
        answers.requires_grad_(True).register_hook(self._note)
        answers.watcher = self
        return answers

    def _note(self, gradient: torch.Tensor) -> None:
        """Two numbers, whatever the number of steps: a tensor kept at each would scatter through the memory."""
        norm = gradient.detach().norm().float()
        self.reached += 1
        least, most = self.least.to(norm.device), self.most.to(norm.device)
        self.least, self.most = torch.minimum(least, norm), torch.maximum(most, norm)

    def facts(self) -> dict[str, float]:
        ends = {"least": self.least, "most": self.most} if self.reached else {"least": 0.0, "most": 0.0}
        numbers = {name: float(norm) if math.isfinite(norm) else -1.0 for name, norm in ends.items()}
        return {"watched": self.watched, "reached": self.reached} | numbers


class Updates:
    """Counts every step of the live optimizer; keeps the first learning rate that is not the planned one, and how often
    weights changed between two steps, which is none of the optimizer's doing.

    A change shows in a weight's version where autograd knows of it, in the weight's address where its memory was
    exchanged, and else in its contents. On a processor these are the bits of small weights, of which a copy takes less
    time than a sum, and of large ones those of each row, added up as integers, which any change of one number alters.
    On a card, where each sum would be a kernel, they are norms: of small weights and of the parts of large ones, as
    less is lost in rounding so. Neither sum nor norm shows changes that cancel: numbers that change places within a
    row, or those that somebody chose to leave the sum as it is.
    """

    PARTS, LARGE = 8, 2**16

    def __init__(self, rates: list[float]) -> None:
        self.planned = rates
        self.count = 0
        self.deviation = ""
        self.touched = torch.zeros((), dtype=torch.long)

    def watch(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.weights = list(model.parameters())
        plain = [weight.detach() for weight in self.weights if weight.numel()]
        self.parts = [_bits(each) for each in plain] if plain[0].is_cpu else self._pieces(plain)
        self._mark()
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def finish(self, model: nn.Module) -> None:
        """After the last step; a model with different weights by then was changed too."""
        self._compare()
        self.touched += [id(weight) for weight in model.parameters()] != [id(weight) for weight in self.weights]

    def _compare(self) -> None:
        changed = (self._contents() != self.contents).any() | (self._places() != self.places)
        self.touched = self.touched.to(changed.device) + changed  # stays there: asking for it would wait for the device

    def _mark(self) -> None:
        self.contents, self.places = self._contents(), self._places()

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        self._compare()
        planned = self.planned[self.count] if self.count < len(self.planned) else 0.0
        self.count += 1
        for group in optimizer.param_groups:
            if not self.deviation and not math.isclose(group["lr"], planned, rel_tol=1e-6, abs_tol=1e-15):
                self.deviation = f"{group['lr']:g} instead of {planned:g} at update {self.count}"

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        self._mark()

    def _pieces(self, weights: list[torch.Tensor]) -> list[torch.Tensor]:
        found = [each.tensor_split(self.PARTS) if each.numel() > self.LARGE else [each] for each in weights]
        return [part for parts in found for part in parts]

    def _contents(self) -> torch.Tensor:
        if self.parts[0].is_floating_point():
            return torch.stack(torch._foreach_norm(self.parts))
        return torch.cat([bits if bits.ndim == 1 else bits.sum(dim=-1) for bits in self.parts])

    def _places(self) -> list[tuple[int, int]]:
        return [(weight._version, weight.data_ptr()) for weight in self.weights]


class TraceCallback(TrainerCallback):
    """Writes down what the live Trainer really uses, at its start, at each log line and at its end."""

    def __init__(self, experiment) -> None:
        self.experiment = experiment
        self.updates = Updates(experiment.rates())
        self.built = dropouts(experiment.student)

    def on_train_begin(self, args, state, control, *, model, optimizer, lr_scheduler, train_dataloader, **kwargs):
        experiment, executed = self.experiment, self._executed(args, optimizer)
        self.updates.watch(model, _inner(optimizer))
        if state.global_step:
            self._go_on(state.global_step)
            experiment.trace.write("continued", step=state.global_step, executed=executed)
            return
        shutil.rmtree(experiment.out / "trainer", ignore_errors=True)  # checkpoints that train.py leaves unused
        experiment.trace.write(
            "start",
            executed=executed
            | {
                "steps": state.max_steps,
                "device": args.device.type,
                "threads": torch.get_num_threads(),
                "seed": args.seed,
                "rows": len(train_dataloader.dataset),
                "warmup": _warmup_steps(lr_scheduler, state.max_steps),
            },
            weights=fingerprint(experiment.student, experiment.names),
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(f"training diverged: the loss is {logs['loss']} at step {state.global_step}")
            line = {"step": state.global_step, "of": state.max_steps, "loss": logs["loss"]}
            self.experiment.trace.write("log", **line, terms=self.experiment.means())

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            control.should_save = False  # a Trainer that continues from its last step takes one more

    def on_save(self, args, state, control, *, train_dataloader, **kwargs):
        """Counts as they were before the batch that is fetched ahead: a trial continued from here fetches it again."""
        counts = {name: getattr(holder, part) for name, holder, part in self._counts()}
        counts |= {"lines": self.experiment.trace.lines, "seconds": self.experiment.trace.seconds}
        updates = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        if state.global_step % updates:
            counts |= {f"collator {name}": value for name, value in self.experiment.collator.before.items()}
            counts |= {name: counts[name] - 1 for name in ("logits watched",) if name in counts}
        checkpoints.finish(Path(args.output_dir) / f"checkpoint-{state.global_step}", counts)

    def _go_on(self, step: int) -> None:
        """Count on from a checkpoint of ours. Raises RuntimeError for one that is not."""
        experiment = self.experiment
        if not experiment.checkpoint or checkpoints.step(Path(experiment.checkpoint)) != step:
            raise RuntimeError(f"training began at step {step}, not with experiment.checkpoint")
        counts = checkpoints.counts(Path(experiment.checkpoint))
        for name, holder, part in self._counts():
            vars(holder)[part] = counts[name]
        self.updates.contents = self.updates.contents.to(experiment.student.device)
        experiment.logged, experiment.continued = {}, step
        experiment.trace.go_on(counts["lines"], counts["seconds"])

    def _counts(self) -> Iterator[tuple[str, object, str]]:
        """(name, holder, attribute) of everything that is counted step by step."""
        experiment = self.experiment
        holders = {"forwards": experiment.forwards, "updates": self.updates, "collator": experiment.collator}
        holders |= {"method": experiment.method, "experiment": experiment, "teacher": experiment.teacher}
        holders |= experiment.teacher.watched if experiment.teacher else {}
        for name, parts in COUNTED.items():
            if holders.get(name):
                yield from ((f"{name} {part}", holders[name], part) for part in parts)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        numbers = {name: v for name, v in (metrics or {}).items() if isinstance(v, int | float) and math.isfinite(v)}
        self.experiment.trace.write("claimed", metrics={name: v for name, v in numbers.items() if name != "epoch"})

    def on_train_end(self, args, state, control, *, model, optimizer, **kwargs):
        experiment, collator = self.experiment, self.experiment.collator
        experiment.means()
        self.updates.finish(model)
        experiment.trace.write(
            "end",
            step=state.global_step,
            executed=self._executed(args, optimizer),
            updates=self.updates.count,
            touched=int(self.updates.touched),
            weights=fingerprint(model, experiment.names),
            schedule=self.updates.deviation,
            forwards=experiment.forwards.calls,
            forward_rows=experiment.forwards.rows,
            samples=collator.collated,
            distinct=experiment.distinct(),
            largest=collator.largest,
            views=int(collator.shown.sum()),
            reads=experiment.method.reads,
            terms=experiment.terms,
            gradients=experiment.teacher.gradients() if experiment.teacher else {},
            teacher=experiment.teacher.uses() if experiment.teacher else {},
        )

    def _executed(self, args, optimizer) -> dict:
        """Settings that edited code could change on the way, so they are read at the start and at the end."""
        student = self.experiment.student
        copies = [module for module in student.modules() if isinstance(module, Frozen)]
        optimizer, live = _inner(optimizer), dropouts(student, [*self.experiment.peers, *copies])
        groups = optimizer.param_groups
        return {
            "learning_rate": _only(group["initial_lr"] for group in groups),
            "weight_decay": max(group["weight_decay"] for group in groups),
            "optimizer": type(optimizer).__name__.lower() + self._unplanned(groups),
            "batch_size": args.train_batch_size,
            "accumulation": args.gradient_accumulation_steps,
            "max_grad_norm": args.max_grad_norm,
            "precision": "bf16" if args.bf16 else "fp32",
            "compiled": is_compiled(student),
            "determinism": determinism(),
            "dropout": "as built" if live == self.built else str(live),
        }

    def _unplanned(self, groups: list[dict]) -> str:
        """Momentum terms and the like that are not the planned optimizer's own."""
        planned = self.experiment.optimizer(nn.Linear(1, 1))[0].param_groups[0]
        names = ("betas", "eps", "momentum", "nesterov", "amsgrad", "maximize", "dampening")
        odd = {n: g[n] for g in groups for n in names if n in g and n in planned and g[n] != planned[n]}
        return "".join(f" {name}={value}" for name, value in odd.items())


def determinism() -> str:
    """The flags that decide whether PyTorch computes the same twice."""
    forced = ("off", "warn", "on")[torch.get_deterministic_debug_mode()]
    cudnn = torch.backends.cudnn
    flags = {"deterministic algorithms": forced, "matmul precision": torch.get_float32_matmul_precision()}
    flags |= {"cudnn deterministic": cudnn.deterministic, "cudnn benchmark": cudnn.benchmark}
    return ", ".join(f"{name} {value}".lower() for name, value in flags.items())


def dropouts(model: nn.Module, attached: Sequence[nn.Module] = ()) -> list[float]:
    """Of every dropout layer of the model but those of other models that hang on it."""
    foreign = {module for other in attached for module in other.modules()}
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout) and module not in foreign]


def _bits(weight: torch.Tensor) -> torch.Tensor:
    """The weight's own memory as integers of eight bytes: [n] of a small one, [rows, n] of a large one, which is one
    row where its rows do not come out even.

    Raises RuntimeError for a weight whose memory has gaps.
    """
    flat = weight.permute(sorted(range(weight.ndim), key=weight.stride, reverse=True)).view(-1)
    size, rows = weight.itemsize, weight.shape[0] if weight.ndim > 1 else 1
    for count in (rows, 1):
        if len(flat) // count * size % 8 == flat.storage_offset() * size % 8 == 0:
            bits = flat.view(torch.int64)
            return bits if len(bits) <= SMALL else bits.view(count, -1)
    return flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[size]).view(1, -1)


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
