"""X1: with few labels and many unlabelled rows, the teacher's answers are worth more than the labels alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.methods.kd import cross_entropy, distillation
from tests.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.effects.effect import Claim, Effect, spread

SEEDS, LABELLED, STEPS, TEMPERATURE, ALPHA = 3, 100, 600, 4.0, 0.9


def run() -> Iterator[Claim]:
    alone, distilled, few = zip(*map(_accuracies, range(SEEDS)), strict=True)
    gain, less = ((sum(arm) - sum(alone)) / SEEDS for arm in (distilled, few))
    yield Claim("gain ≥ 0.08", f"labels {spread(alone)}, distilled {spread(distilled)}", gain >= 0.08)
    yield Claim("without the unlabelled rows the gain is gone (< 0.08)", spread(few), less < 0.08, control=True)


def _accuracies(seed: int) -> tuple[float, float, float]:
    """On the test rows: labels alone, distilled on all rows, distilled on the labelled rows."""
    images, labels, test_images, test_labels = digits(seed)
    teacher = fit_labels(cnn(100 + seed, width=32), images, labels, 1200, seed)
    with torch.no_grad():
        answers = teacher(images)
    known = torch.where(torch.arange(len(labels)) < LABELLED, labels, -100)

    def distil(rows: int) -> float:
        student = cnn(seed, width=12)

        def loss(chosen: Tensor) -> Tensor:
            logits = student(images[chosen])
            soft = distillation(logits, answers[chosen], TEMPERATURE)
            return (1 - ALPHA) * cross_entropy(logits, known[chosen]) + ALPHA * soft

        return accuracy(fit(student, loss, rows, STEPS, seed), test_images, test_labels)

    plain = fit_labels(cnn(seed, width=12), images[:LABELLED], labels[:LABELLED], STEPS, seed)
    return accuracy(plain, test_images, test_labels), distil(len(images)), distil(LABELLED)


EFFECT = Effect("X1", "kd", "digits CNN, 100 labels + 900 unlabelled", ".824 → .987", run)
