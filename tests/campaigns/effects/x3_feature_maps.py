"""X3: feature maps come nearer where their distance is in the loss, and not where only the answers are."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from baselines.methods.attention import attention_transfer
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.selective import Projections, feature_loss
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit, fit_labels
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, STEPS, WIDTH, TEACHER_WIDTH = 3, 400, 12, 32
Distance = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def maps(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the two convolutions see: [B, w, 8, 8] and [B, 2w, 4, 4]."""
    first = model[:2](images)
    return first, model[2:5](first)


def share_left(seed: int, weight: float, hidden: bool) -> tuple[float, float]:
    """(distance at the end over the distance at the start, test accuracy); weight 0 distils the answers alone."""
    images, labels, test_images, test_labels = digits(seed)
    teacher = fit_labels(cnn(100 + seed, TEACHER_WIDTH), images, labels, 800, seed).requires_grad_(False)
    student = cnn(seed, WIDTH)
    widths = ([WIDTH, 2 * WIDTH], [TEACHER_WIDTH, 2 * TEACHER_WIDTH])
    projections = Projections(*widths, spatial=True) if hidden else nn.Identity()

    def distance(i: Tensor) -> Tensor:
        ours, theirs = maps(student, images[i]), maps(teacher, images[i])
        return feature_loss(ours, theirs, projections) if hidden else attention_transfer(ours, theirs)

    def loss(i: Tensor) -> Tensor:
        logits = student(images[i])
        soft = distillation(logits, teacher(images[i]), 3.0)
        total = 0.5 * cross_entropy(logits, labels[i]) + 0.5 * soft
        return total + weight * distance(i) if weight else total

    everything = torch.arange(len(images))
    with torch.no_grad():
        first = distance(everything)
    fit(nn.ModuleList([student, projections]), loss, len(images), STEPS, seed, rate=2e-3)
    with torch.no_grad():
        return (distance(everything) / first).item(), accuracy(student, test_images, test_labels)


def run() -> Iterator[Claim]:
    for name, weight, hidden in (("hidden maps", 1.0, True), ("attention maps", 100.0, False)):
        pulled, alone = (
            zip(*(share_left(seed, w, hidden) for seed in range(SEEDS)), strict=True) for w in (weight, 0.0)
        )
        (left, scores), (idle, plain) = map(tuple, (pulled, alone))
        said = f"to {spread(left)}; accuracy {spread(scores)} beside {spread(plain)}"
        yield Claim(f"distance of {name} falls by half or more", said, max(left) <= 0.5)
        nearer = all(ours < theirs for ours, theirs in zip(left, idle, strict=True))
        yield Claim(f"answers alone bring {name} less near, in every seed", f"to {spread(idle)}", nearer, control=True)


EFFECT = Effect("X3", "kd_selective, attention, hints", "digits CNN", "MSE .84 → .24, AT .36 → .08", run)
