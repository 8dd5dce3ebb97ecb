"""Teacher-free distillation (Yuan et al. 2020, arXiv 1909.11723): who teaches when there is no larger model.

Self-training: the teacher is a model of the student's own architecture, trained on the labels before; its loss is
`kd.distillation`. Regularisation: the teacher is a distribution written by hand, which is always right and never
certain.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.rows import NO_LABEL
from baselines.methods.kd import distillation, fp32


def virtual_logits(labels: Tensor, classes: int, correct: float) -> Tensor:
    """The logits [B, C] of the virtual teacher: the label has probability `correct`, each other class an equal share of
    the rest (section 4; the paper takes 0.99 and more, and T of 20 and more).

    Raises ValueError unless 1/C < correct < 1: below, the teacher would be wrong.
    """
    if not 1 / classes < correct < 1:
        raise ValueError(f"correct must lie between 1/{classes} and 1, got {correct}")
    hot = F.one_hot(labels, classes).bool()
    return torch.where(hot, math.log(correct), math.log((1 - correct) / (classes - 1)))


def regularisation(logits: Tensor, labels: Tensor, temperature: float, correct: float) -> Tensor:
    """T² · KL(virtual teacher ‖ student) at temperature T in nats (section 4), summed over the labelled rows and
    divided by all B rows.

    The paper has no T²; it is kept so that alpha weighs here what it weighs elsewhere. The published code softens
    probabilities as if they were logits, leaves the student unsoftened and divides by B · C: it makes up for that with
    a factor of its own.
    """
    teacher = virtual_logits(labels.clamp_min(0), logits.shape[-1], correct)
    known = (labels != NO_LABEL)[:, None]
    return distillation(torch.where(known, fp32(logits), teacher), teacher, temperature)
