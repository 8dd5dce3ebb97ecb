"""X1: with few labels and many unlabelled rows, the teacher's answers are worth more than the labels alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.methods.kd import cross_entropy, distillation
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, LABELLED, EPOCHS, BATCH, TEMPERATURE, ALPHA = 3, 100, 80, 64, 3.0, 0.5


def run() -> Iterator[Claim]:
    found = [_accuracies(seed) for seed in range(SEEDS)]
    alone, longer, distilled, few = zip(*found, strict=True)
    gain, equal, less = (
        (sum(arm) - sum(base)) / SEEDS for arm, base in ((distilled, alone), (distilled, longer), (few, alone))
    )
    yield Claim(
        "gain ≥ 0.08 after as many epochs", f"labels {spread(alone)}, distilled {spread(distilled)}", gain >= 0.08
    )
    yield Claim("some of it is left after as many updates", f"labels {spread(longer)}", equal > 0)
    yield Claim("without the unlabelled rows the gain is gone (< 0.08)", spread(few), less < 0.08, control=True)


def _accuracies(seed: int) -> tuple[float, float, float, float]:
    """On the test rows: labels alone, with as many updates as the distilled student too, distilled on all rows,
    distilled on the labelled rows."""
    images, labels, test_images, test_labels = digits(seed)
    teacher = fit_labels(cnn(100 + seed, width=32), images, labels, 800, seed)
    with torch.no_grad():
        answers = teacher(images)
    known = torch.where(torch.arange(len(labels)) < LABELLED, labels, -100)

    def plain(steps: int) -> float:
        student = fit_labels(cnn(seed, width=12), images[:LABELLED], labels[:LABELLED], steps, seed)
        return accuracy(student, test_images, test_labels)

    def distil(rows: int) -> float:
        student = cnn(seed, width=12)

        def loss(chosen: Tensor) -> Tensor:
            logits = student(images[chosen])
            soft = distillation(logits, answers[chosen], TEMPERATURE)
            return (1 - ALPHA) * cross_entropy(logits, known[chosen]) + ALPHA * soft

        return accuracy(fit(student, loss, rows, _steps(rows), seed), test_images, test_labels)

    return plain(_steps(LABELLED)), plain(_steps(len(images))), distil(len(images)), distil(LABELLED)


def _steps(rows: int) -> int:
    return EPOCHS * -(-rows // BATCH)


EFFECT = Effect("X1", "kd", "digits CNN, 100 labels + 900 unlabelled", ".824 → .987", run)
