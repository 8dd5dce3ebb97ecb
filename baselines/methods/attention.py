"""Attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928): where in the image a layer is active.

Features are maps [B, C, H, W], one per pair of layers; channels may differ, and of two sizes the larger is
average-pooled to the smaller.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.errors import BaselineError
from baselines.methods.selective import same_size

SMALLEST = 2
"""Pixels a side: on one pixel the attention is 1, loss and gradient exactly 0."""


def attention_transfer(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], min_map_size: int = SMALLEST
) -> Tensor:
    """Mean squared difference of the two attention maps, over positions, examples and pairs.

    The paper sums norms (equation 2, with p = 2); the mean is that of its published code, to which the usual weight
    β = 1000 belongs. Raises BaselineError for states, and for maps with a side below `min_map_size` or 2 pixels.
    """
    losses = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        _refuse(student, teacher, max(min_map_size, SMALLEST))
        student, teacher = (attention_map(side) for side in same_size(student, teacher))
        losses.append((student - teacher).square().mean())
    return torch.stack(losses).mean()


def attention_map(features: Tensor) -> Tensor:
    """A(F) = vec(mean_c F²) / ‖·‖, [B, H·W] of length 1 (section 3.1)."""
    return F.normalize(features.square().mean(dim=1).flatten(1), dim=-1)


def _refuse(student: Tensor, teacher: Tensor, smallest: int) -> None:
    shapes = f"{[*student.shape]} (student) and {[*teacher.shape]} (teacher)"
    if student.dim() != 4 or teacher.dim() != 4:
        hint = "for text use method tinybert, which compares attention matrices, or kd_selective with its hidden signal"
        raise BaselineError(f"attention transfer compares maps [B, C, H, W], not {shapes}", hint)
    if min(*student.shape[2:], *teacher.shape[2:]) < smallest:
        hint = 'use larger images, stem "cifar", layers that end earlier, or kd_selective with its hidden signal'
        raise BaselineError(f"attention transfer needs maps of {smallest}×{smallest} and more, got {shapes}", hint)
