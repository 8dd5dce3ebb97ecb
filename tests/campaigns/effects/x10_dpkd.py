"""X10: a teacher that has never seen some classes makes the student forget them, unless each row is taught by whoever
is surer of it, or temperature and alpha are chosen on rows that are held back."""

import copy
import operator
from collections.abc import Callable, Iterator
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.methods.dpkd import Mode, flips, partitioned
from baselines.methods.held_back import held_back
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.partition import by_class
from baselines.methods.tuned import Cell, Choice, Score, choose, grid
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, SHARED, BATCH, EPOCHS, RATE = 3, 300, 32, 20, 1e-3
CLASSES = (range(7), range(3, 10))
"""Those that the teacher and those that the student has seen."""
TEMPERATURES, ALPHAS, STANDARD = (1.0, 2.0, 4.0), (0.1, 0.3, 0.5, 0.7, 0.9, 1.0), Cell(1.0, 0.5)


class Outcome(NamedTuple):
    accuracy: float
    gained: float
    """The share of test rows that the student had wrong and now has right; `lost` the reverse."""
    lost: float


def run() -> Iterator[Claim]:
    trials = [*map(_trial, range(SEEDS))]
    arms = {arm: [found[arm] for found, _ in trials] for arm in trials[0][0]}
    right, lost = (
        {arm: [getattr(o, part) for o in each] for arm, each in arms.items()} for part in ("accuracy", "lost")
    )
    said = ", ".join(f"{arm} {spread(lost[arm])}" for arm in ("KD", "DP", "DP without labels"))
    fewer = max(mean(lost["DP"]), mean(lost["DP without labels"])) < mean(lost["KD"]) / 2
    yield Claim("DP loses less than half of what KD loses", said, fewer)
    choices = [choice for _, choice in trials]
    best, standard = zip(*((choice.best.accuracy, choice.scores[STANDARD].accuracy) for choice in choices), strict=True)
    cells = ", ".join(f"T = {choice.temperature:g} α = {choice.alpha:g}" for choice in choices)
    said = f"{spread(best)} ({cells}) against {spread(standard)}"
    yield Claim("tuned ≥ standard on the rows held back", said, all(map(operator.ge, best, standard)))
    said = ", ".join(f"{arm} {spread(right[arm])}" for arm in ("before", "KD", "standard", "tuned", "DP"))
    repaired = min(mean(right["tuned"]), mean(right["DP"])) > mean(right["standard"]) > mean(right["KD"])
    yield Claim("tuning and DP repair what KD destroys", said, repaired)
    itself = [outcome.gained + outcome.lost for outcome in arms["DP from itself"]]
    still = max(itself) < 0.005  # Adam walks on what rounding leaves of a gradient
    yield Claim("taught by itself the student stays (flips < 0.005)", spread(itself), still, control=True)
    better = mean(right["DP"]) - mean(right["labels"]) < 0.02
    yield Claim("with all labels nothing beats the labels (by 0.02)", spread(right["labels"]), better, control=True)


def _trial(seed: int) -> tuple[dict[str, Outcome], Choice]:
    """What each way to go on from the same student makes of it on the test rows, and what was tuned."""
    images, labels, test_images, test_labels = digits(seed)
    teacher, start = _specialists(images[SHARED:], labels[SHARED:], seed)
    images, labels = images[:SHARED], labels[:SHARED]
    with torch.no_grad():
        answers, own = teacher(images), start(images)

    def go_on(loss: Callable[[Tensor, Tensor], Tensor], rows: Tensor) -> nn.Module:
        student = copy.deepcopy(start)
        steps = EPOCHS * len(rows) // BATCH
        return fit(student, lambda i: loss(student(images[rows[i]]), rows[i]), len(rows), steps, seed, RATE, BATCH)

    def distil(cell: Cell) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(logits: Tensor, i: Tensor) -> Tensor:
            soft = distillation(logits, answers[i], cell.temperature)
            return (1 - cell.alpha) * cross_entropy(logits, labels[i]) + cell.alpha * soft

        return loss

    def partition(other: Tensor, mode: Mode) -> Callable[[Tensor, Tensor], Tensor]:
        target = partitioned(other, own, labels, mode)
        return lambda logits, i: distillation(logits, target[i], 1.0)

    held, everything = held_back(labels), torch.arange(SHARED)
    trained, judged = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
    cells = grid(TEMPERATURES, ALPHAS)
    tuned = choose({cell: _score(go_on(distil(cell), trained), images[judged], labels[judged]) for cell in cells})
    losses = {
        "KD": distil(Cell(1.0, 1.0)),
        "standard": distil(STANDARD),
        "tuned": distil(Cell(tuned.temperature, tuned.alpha)),
        "DP": partition(answers, "supervised"),
        "DP without labels": partition(answers, "unsupervised"),
        "DP from itself": partition(own, "supervised"),
        "labels": lambda logits, i: cross_entropy(logits, labels[i]),
    }
    students = {"before": start} | {arm: go_on(loss, everything) for arm, loss in losses.items()}
    with torch.no_grad():
        before = start(test_images).argmax(dim=1)
        after = {arm: student(test_images).argmax(dim=1) for arm, student in students.items()}
    outcomes = {arm: flips(before, classes, test_labels) for arm, classes in after.items()}
    measured = {arm: accuracy(student, test_images, test_labels) for arm, student in students.items()}
    return {arm: Outcome(measured[arm], *outcomes[arm]) for arm in students}, tuned


def _specialists(images: Tensor, labels: Tensor, seed: int) -> tuple[nn.Module, nn.Module]:
    """A teacher and a student, each trained on rows of its own classes."""
    mine, theirs = by_class(labels, CLASSES, seed)
    teacher = fit_labels(cnn(100 + seed, width=32), images[mine], labels[mine], 600, seed)
    return teacher, fit_labels(cnn(seed, width=12), images[theirs], labels[theirs], 600, seed)


@torch.no_grad()
def _score(model: nn.Module, images: Tensor, labels: Tensor) -> Score:
    return Score(accuracy(model, images, labels), -cross_entropy(model(images), labels).item())


EFFECT = Effect("X10", "dpkd, kd_tuned", "digits, classes 0–6 teach 3–9", "lost .296 → .034; .798 → .891 tuned", run)
