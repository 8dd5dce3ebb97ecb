"""X9: a teacher that learned 30 % wrong labels by heart says nothing wrong once it is revised, and how much a row harms
a probe of its features tells which of its answers are wrong."""

from collections.abc import Iterator

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from baselines.methods.held_back import held_back
from baselines.methods.influence import doubt, influence, smallest
from baselines.methods.kd import cross_entropy
from baselines.methods.lr_ds import is_wrong, regression, revised, selected_distillation
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, NOISE, TEACHER_STEPS, STEPS = 4, 0.3, 1500, 600
TEMPERATURE, ALPHA, ETA, KEPT, RIDGE = 3.0, 0.5, 0.8, 0.7, 1e-2


def run() -> Iterator[Claim]:
    trials = [*map(_trial, range(SEEDS))]
    before, after, areas, doubts, kept, dropped = zip(*(supervision for supervision, _ in trials), strict=True)
    arms = {arm: [students[arm] for _, students in trials] for arm in trials[0][1]}
    said = {arm: spread(values) for arm, values in arms.items()}
    yield Claim("wrong supervision → 0", f"{spread(before)} → {max(after):g}", min(before) > 0.2 and max(after) == 0)
    areas_said = f"{spread(areas)}; of 1 − p(label) {spread(doubts)}; wrong among kept {spread(kept)}"
    yield Claim("AUC of influence for wrong answers ≥ 0.75", areas_said, min(areas) >= 0.75)
    measured = f"{said['KD']} → {said['LR']}; labels {said['labels']}, DS {said['DS']}, LR + DS {said['LR + DS']}"
    yield Claim("revised answers teach better than the teacher's", measured, sum(arms["LR"]) > sum(arms["KD"]))
    worse = sum(arms["mse variant"]) < sum(arms["labels"])
    yield Claim("the published mse variant does harm", said["mse variant"], worse, control=True)
    more = sum(dropped) / SEEDS - NOISE
    yield Claim("rows dropped at random would be wrong 0.3 of the time", spread(dropped), more > 0.1, control=True)


def _trial(seed: int) -> tuple[tuple[float, ...], dict[str, float]]:
    """What is wrong in the supervision and how well it is found; test accuracy per arm."""
    images, labels, test_images, test_labels = digits(seed)
    answers, features = _noisy_teacher(images, labels, seed)
    wrong, held = is_wrong(answers, labels), held_back(labels)
    corrected = revised(answers, labels, ETA)
    scores = influence(features, answers, labels, held, RIDGE)
    chosen, everything = smallest(scores, KEPT), torch.ones(len(labels), dtype=torch.bool)
    found = (
        wrong.double().mean().item(),
        is_wrong(corrected, labels).double().mean().item(),
        *(float(roc_auc_score(wrong[~held], each[~held])) for each in (scores, doubt(answers, labels))),
        *(wrong[part].double().mean().item() for part in (chosen, ~chosen)),
    )
    targets = {
        "KD": (answers, everything),
        "LR": (corrected, everything),
        "DS": (answers, chosen),
        "LR + DS": (corrected, chosen),
    }
    plain = fit_labels(cnn(seed, width=12), images, labels, STEPS, seed)
    students = {arm: _student(images, labels, target, kept, seed) for arm, (target, kept) in targets.items()}
    students |= {"labels": plain, "mse variant": _regressed(images, labels, answers, seed)}
    return found, {arm: accuracy(model, test_images, test_labels) for arm, model in students.items()}


def _noisy_teacher(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and last features of a teacher that learned other labels for 30 % of the rows."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.rand(len(labels), generator=generator) < NOISE
    other = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    teacher = fit_labels(cnn(100 + seed, width=32), images, torch.where(flipped, other, labels), TEACHER_STEPS, seed)
    with torch.no_grad():
        features = teacher[:-1](images)
        return teacher[-1](features), features


def _student(images: Tensor, labels: Tensor, target: Tensor, kept: Tensor, seed: int) -> nn.Module:
    student = cnn(seed, width=12)

    def loss(i: Tensor) -> Tensor:
        logits = student(images[i])
        soft, rest = selected_distillation(logits, target[i], labels[i], kept[i], TEMPERATURE)
        return (1 - ALPHA) * cross_entropy(logits, labels[i]) + ALPHA * (soft + rest)

    return fit(student, loss, len(labels), STEPS, seed)


def _regressed(images: Tensor, labels: Tensor, answers: Tensor, seed: int) -> nn.Module:
    student = cnn(seed, width=12)
    return fit(student, lambda i: regression(student(images[i]), answers[i], labels[i], ETA), len(labels), STEPS, seed)


EFFECT = Effect("X9", "lr_ds", "digits, teacher with 30 % wrong labels", "29.3 % → 0; AUC .86; KD .941 → LR .970", run)
