"""Tuned distillation (Alballa and Canini 2024, arXiv 2402.14922): temperature and alpha are chosen from a grid by short
trainings on a part of the rows, before the student is trained. Their grid is not known here; this is the usual one.
"""

import copy
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.data.collator import Collator
from baselines.methods.held_back import held_back
from baselines.methods.kd import cross_entropy, distillation


class Cell(NamedTuple):
    """One point of the grid."""

    temperature: float
    alpha: float


class Score(NamedTuple):
    """On the rows held back; of two equal accuracies the surer one is better."""

    accuracy: float
    likelihood: float
    """Mean log-probability of the labels, in nats."""


class Choice(NamedTuple):
    """The cell that was chosen, and the score of every cell."""

    temperature: float
    alpha: float
    scores: dict[Cell, Score]

    @property
    def best(self) -> Score:
        return self.scores[Cell(self.temperature, self.alpha)]

    def terms(self) -> dict[str, float]:
        """The grid and every accuracy, by names to log."""
        return {f"accuracy_T{cell.temperature:g}_alpha{cell.alpha:g}": s.accuracy for cell, s in self.scores.items()}


def grid(temperatures: Sequence[float], alphas: Sequence[float]) -> tuple[Cell, ...]:
    """Every temperature with every alpha."""
    return tuple(itertools.starmap(Cell, itertools.product(temperatures, alphas)))


def choose(scores: Mapping[Cell, Score]) -> Choice:
    """The cell of the best score; a warning where it lies on the grid's border and a larger grid may have better."""
    best = max(scores, key=lambda cell: scores[cell])
    for name, value in border(best, list(scores)).items():
        warnings.warn(f"the best {name} is {value:g}, the last of its grid: extend the grid", stacklevel=2)
    return Choice(*best, dict(scores))


def border(best: Cell, cells: Sequence[Cell]) -> dict[str, float]:
    """The values of `best` beyond which the grid, but not the legal range, ends. A single value is not a grid."""
    found = {}
    for name in Cell._fields:
        values = {getattr(cell, name) for cell in cells}
        value = getattr(best, name)
        ends = {min(values), max(values)} - ({0.0, 1.0} if name == "alpha" else set())
        if len(values) > 1 and value in ends:
            found[name] = value
    return found


def tune(experiment, cells: Sequence[Cell], share: float) -> Choice:
    """Trains a copy of the student for each cell of a grid, each for that share of the planned steps, at the planned
    rate without a schedule.

    All copies start as the student does and see the same batches; every fifth labelled row judges them and is left out.
    The student, the trial's own random numbers and its counts stay as they are. Raises BaselineError as `held_back`
    does.
    """
    steps = max(1, round(share * experiment.steps))
    trials = Trials(experiment, steps)
    with torch.random.fork_rng():
        return choose({cell: trials.score(cell) for cell in cells})


class Trials:
    """Short trainings of copies of a student, on batches that are made once."""

    def __init__(self, experiment, steps: int) -> None:
        self.experiment, self.arguments = experiment, experiment.training_arguments()
        self.device, size = self.arguments.device, self.arguments.per_device_train_batch_size
        rows = experiment.train_dataset + experiment.transfer_dataset
        held = held_back(torch.as_tensor(rows.labels))
        trained, judged = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
        generator = torch.Generator().manual_seed(experiment.seed)
        epochs = -(-steps * size // len(trained))
        order = torch.cat([trained[torch.randperm(len(trained), generator=generator)] for _ in range(epochs)])
        self.batches = self._batches(rows, order[: steps * size].split(size))
        self.judges = self._batches(rows, judged.split(size))

    def score(self, cell: Cell) -> Score:
        torch.manual_seed(self.experiment.seed)  # dropout is the same in every cell
        model = copy.deepcopy(self.experiment.student).to(self.device).train()
        optimizer, _ = self.experiment.optimizer(model)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]  # not what the warm-up begins with
        for batch in self.batches:
            optimizer.zero_grad()
            self._loss(model, batch, cell).backward()
            nn.utils.clip_grad_norm_(model.parameters(), self.arguments.max_grad_norm or torch.inf)
            optimizer.step()
        return self._judge(model.eval())

    def _loss(self, model: nn.Module, batch: dict[str, Tensor], cell: Cell) -> Tensor:
        logits = self._logits(model, batch)
        soft = distillation(logits, batch["teacher_logits"], cell.temperature)
        return (1 - cell.alpha) * cross_entropy(logits, batch["labels"]) + cell.alpha * soft

    @torch.no_grad()
    def _judge(self, model: nn.Module) -> Score:
        logits = torch.cat([self._logits(model, batch) for batch in self.judges])
        labels = torch.cat([batch["labels"] for batch in self.judges])
        right = (logits.argmax(dim=-1) == labels).double().mean().item()
        return Score(right, -cross_entropy(logits, labels).item())

    def _logits(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.arguments.bf16):
            return model(**self.experiment.model_inputs(batch)).logits

    def _batches(self, rows, places: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        collate = Collator(
            self.experiment.task, lambda made: self.experiment.teacher.logits[made["ids"]]
        )  # watched by nobody
        made = (collate([rows[int(place)] for place in part]) for part in places)
        return [{name: value.to(self.device) for name, value in batch.items()} for batch in made]
