"""X8: an autoencoder, which knows no label, sees which classes look alike; soft labels made of that help the student.

Likeness is held against what a trained teacher says of the training rows at temperature 4: at 1 a teacher that has
learned them by heart leaves next to nothing to the other classes.
"""

from collections.abc import Iterator

import torch
from scipy.stats import spearmanr
from torch import Tensor

from baselines.methods.kd import cross_entropy
from baselines.methods.reffakd import balanced_tau, boosted, class_distillation, drawn, similarity, soft_labels
from baselines.methods.unsupervised import Autoencoder, reconstructing
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.campaigns.effects.effect import Claim, Effect, spread

CLASSES, PER_CLASS, TEMPERATURE, BOOST = 10, 40, 4.0, 0.0225
LIKENESS_SEEDS, STUDENT_SEEDS, LABELLED, STEPS, ALPHA = 3, 5, 100, 600, 0.5


def run() -> Iterator[Claim]:
    nearest = _siblings()
    yield Claim("the sibling is the nearest class, ≥ 9 of 10", f"{nearest} of 10", nearest >= 9)
    rho, untrained, pixels, entropy = zip(*map(_likeness, range(LIKENESS_SEEDS)), strict=True)
    beside = f"{spread(rho)}; pixels {spread(pixels)}"
    yield Claim("ρ with a teacher's soft labels ≥ 0.5", beside, min(rho) >= 0.5)
    yield Claim("an untrained autoencoder sees less", spread(untrained), sum(untrained) < sum(rho), control=True)
    flat = min(entropy)
    yield Claim("at τ = 1 labels are smoothed evenly (entropy ≥ 0.99 ln C)", f"{flat:.4f}", flat >= 0.99, control=True)
    plain, taught = zip(*map(_students, range(STUDENT_SEEDS)), strict=True)
    measured = f"labels {spread(plain)}, with the table {spread(taught)}"
    yield Claim("100 labels: better than labels alone", measured, sum(taught) > sum(plain))


def _siblings() -> int:
    """How many of 10 classes find the other member of their pair nearest: 5 patterns, each in two small variations."""
    torch.manual_seed(0)
    patterns = torch.rand(5, 1, 8, 8).repeat_interleave(2, dim=0)
    classes = patterns + 0.15 * torch.randn(10, 1, 8, 8)
    labels = torch.arange(CLASSES).repeat_interleave(60)
    images = (classes[labels] + 0.15 * torch.randn(len(labels), 1, 8, 8)).clamp(0, 1)
    likeness = _similarity(reconstructing(images), images, labels)
    nearest = (likeness - 2 * torch.eye(CLASSES)).argmax(dim=-1)
    return int((nearest == torch.arange(CLASSES) ^ 1).sum())


def _likeness(seed: int) -> tuple[float, float, float, float]:
    """Rank correlation with the teacher of the trained and the untrained autoencoder and of pixels; entropy of the soft
    labels at τ = 1 as a share of the greatest."""
    images, labels, *_ = digits(seed)
    teacher = fit_labels(cnn(100 + seed, width=32), images, labels, 1200, seed)
    with torch.no_grad():
        answers = (teacher(images) / TEMPERATURE).softmax(dim=-1)
    said = torch.stack([answers[labels == label].mean(dim=0) for label in range(CLASSES)])
    torch.manual_seed(seed)
    untrained, trained = Autoencoder(1), reconstructing(images)
    own = ~torch.eye(CLASSES, dtype=torch.bool)
    sides = [_similarity(encoder, images, labels) for encoder in (trained, untrained, None)]
    rho, less, pixels = (float(spearmanr(side[own], said[own]).statistic) for side in sides)
    flat = torch.special.entr(soft_labels(sides[0], 1.0)).sum(dim=-1).mean() / torch.tensor(CLASSES).log()
    return rho, less, pixels, float(flat)


@torch.no_grad()
def _similarity(model: Autoencoder | None, images: Tensor, labels: Tensor) -> Tensor:
    chosen = drawn(labels, PER_CLASS)
    seen = model.encoder(images[chosen]) if model else images[chosen]
    return similarity(seen.flatten(1), labels[chosen], CLASSES)


def _students(seed: int) -> tuple[float, float]:
    """Test accuracy with 100 labels: from these alone, and with the table; the autoencoder sees all images."""
    images, labels, test_images, test_labels = digits(seed)
    torch.manual_seed(seed)
    likeness = boosted(_similarity(reconstructing(images), images[:LABELLED], labels[:LABELLED]), BOOST)
    table, student = soft_labels(likeness, balanced_tau(likeness)), cnn(seed, width=12)

    def loss(chosen: Tensor) -> Tensor:
        logits, known = student(images[chosen]), labels[chosen]
        return (1 - ALPHA) * cross_entropy(logits, known) + ALPHA * class_distillation(logits, known, table, 1.0)

    taught = fit(student, loss, LABELLED, STEPS, seed)
    plain = fit_labels(cnn(seed, width=12), images[:LABELLED], labels[:LABELLED], STEPS, seed)
    return accuracy(plain, test_images, test_labels), accuracy(taught, test_images, test_labels)


EFFECT = Effect("X8", "reffakd", "digits; 5 patterns in pairs", "10 of 10; ρ = .79 (pixels .82); .849 → .881", run)
