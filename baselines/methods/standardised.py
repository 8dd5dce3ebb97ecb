"""Distillation of standardised logits (Sun et al. 2024, CVPR, arXiv 2403.01427): teacher and student agree on the order
and the spacing of the classes, and the student is free in the range of its logits.

Logits are [B, C].
"""

import torch.nn.functional as F
from torch import Tensor

from baselines.methods.kd import distillation, fp32


def standardise(logits: Tensor) -> Tensor:
    """(z − mean) / standard deviation over the classes of each row (algorithm 1).

    The deviation divides by C as the paper does; the published code divides by C − 1. The small constant is that of
    layer norm: a row of equal logits becomes zero and has a finite gradient.
    """
    return F.layer_norm(fp32(logits), logits.shape[-1:])


def standardised_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · mean_b KL(softmax(Z(z_t)/T) ‖ softmax(Z(z_s)/T)) in nats (algorithm 2). Standardised logits spread by 1, so
    T is of that order: the paper uses 2. Raises ValueError as `distillation` does."""
    return distillation(standardise(student_logits), standardise(teacher_logits), temperature)
