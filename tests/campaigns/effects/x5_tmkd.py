"""X5: a student with a head for each of three teachers, taught in two stages, beats labels alone and a single teacher.

Digits: the teachers learn from bootstraps of 200 labels, the student from 60 of them and, in stage 1, from 800 rows
without labels. All arms take the same number of updates; the teachers' logits are standardised where they spread by
more than 5. The best teacher is chosen by labels that no student sees, to the advantage of those who learn from it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from baselines.methods.kd import cross_entropy
from baselines.methods.tmkd import SoftHeads, averaged, objective, scale, soft_loss, students, targets
from tests.campaigns.effects.digits import accuracy, digits, fit, fit_labels, mlp
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, TEACHERS, BOOTSTRAP, LABELLED, WIDTH, ALPHA = 4, 3, 200, 60, 24, 0.9
TEACHER_STEPS, STEPS = 1200, 300
ARMS = {
    "1-o-1": ("1-o-1", 0.0),
    "1avg-o-1": ("1avg-o-1", 0.0),
    "m-o-m": ("m-o-m", 0.0),
    "MKD": ("m-o-1", 0.0),
    "TKD": ("1-o-1", 0.5),
    "TMKD": ("m-o-1", 0.5),
}
"""Mode and share of the steps that stage 1 takes."""


def run() -> Iterator[Claim]:
    found = [_accuracies(seed) for seed in range(SEEDS)]
    scores = {arm: [each[arm] for each in found] for arm in found[0]}
    mean = {arm: sum(each) / SEEDS for arm, each in scores.items()}
    two, single = (f"{arm} {spread(scores[arm])}" for arm in ("TMKD", "1-o-1"))
    yield Claim(
        "TMKD − labels ≥ 0.05", f"labels {spread(scores['labels'])}, {two}", mean["TMKD"] - mean["labels"] >= 0.05
    )
    yield Claim("TMKD − 1-o-1 ≥ 0.015", f"{single}, {two}", mean["TMKD"] - mean["1-o-1"] >= 0.015)
    stages = mean["TMKD"] > mean["MKD"] and mean["TKD"] > mean["1-o-1"]
    said = ", ".join(f"{arm} {mean[arm]:.3f}" for arm in mean)
    yield Claim("two stages > one stage, for three teachers and for one", said, stages)
    golden = f"all heads {spread(scores['TMKD'])}, golden head alone {spread(scores['golden'])}"
    yield Claim("without the soft heads the prediction is worse", golden, mean["golden"] < mean["TMKD"], control=True)


def _accuracies(seed: int) -> dict[str, float]:
    """On the test rows, by arm; `golden` is TMKD's golden head alone."""
    images, labels, test_images, test_labels = digits(seed)
    found = [_teacher(10 * seed + n, images, labels) for n in range(TEACHERS)]
    unlabelled = slice(BOOTSTRAP, len(images))
    best = sorted(found, key=lambda teacher: -accuracy(teacher, images[unlabelled], labels[unlabelled]))
    with torch.no_grad():
        answers = torch.stack([teacher(images) for teacher in best])
    answers = scale(answers).apply(answers)
    plain = fit_labels(mlp(seed, WIDTH), images[:LABELLED], labels[:LABELLED], STEPS, seed)
    result = {"labels": accuracy(plain, test_images, test_labels)}

    def right(probabilities: Tensor) -> float:
        return (probabilities.argmax(dim=1) == test_labels).double().mean().item()

    for arm, (mode, stage_one) in ARMS.items():
        taught = [
            Student(seed + 100 * n, images, labels, targets(answers, mode, n)).fit(stage_one, seed)
            for n in range(students(mode, TEACHERS))
        ]
        result[arm] = right(torch.stack([student.predict(test_images) for student in taught]).mean(dim=0))
    return result | {"golden": right(taught[0].golden(test_images))}


def _teacher(seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    rows = torch.randint(BOOTSTRAP, (BOOTSTRAP,), generator=torch.Generator().manual_seed(seed))
    return fit_labels(mlp(1000 + seed, 128), images[rows], labels[rows], TEACHER_STEPS, seed)


class Student(nn.Module):
    """An encoder, its golden head and a soft head per teacher [N, rows, 10] that it learns from."""

    def __init__(self, seed: int, images: Tensor, labels: Tensor, answers: Tensor) -> None:
        super().__init__()
        *encoder, self.head = mlp(seed, WIDTH)
        self.encoder, self.soft = nn.Sequential(*encoder), SoftHeads(WIDTH, 10, len(answers))
        self.rows = torch.arange(LABELLED), torch.arange(BOOTSTRAP, len(images))
        self.images, self.labels, self.answers = images, labels, answers

    def fit(self, stage_one: float, seed: int) -> "Student":
        """Stage 1 on the rows without labels, stage 2 on those with labels."""
        first = round(stage_one * STEPS)
        labelled, unlabelled = self.rows
        if first:
            fit(self, self._loss(unlabelled, 1), len(unlabelled), first, seed)
        return fit(self, self._loss(labelled, 2), len(labelled), STEPS - first, seed + 1)

    def _loss(self, rows: Tensor, stage: int):
        def loss(chosen: Tensor) -> Tensor:
            chosen = rows[chosen]
            encoding = self.encoder(self.images[chosen])
            golden = cross_entropy(self.head(encoding), self.labels[chosen])
            return objective(golden, soft_loss(self.soft(encoding), self.answers[:, chosen]), ALPHA, stage)

        return loss

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        encoding = self.encoder(images)
        return averaged(self.head(encoding), self.soft(encoding))

    @torch.no_grad()
    def golden(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


EFFECT = Effect(
    "X5",
    "tmkd",
    "digits MLP, 3 teachers, 60 labels + 800 unlabelled",
    "labels .785, 1-o-1 .858, MKD .895, TMKD .905",
    run,
)
