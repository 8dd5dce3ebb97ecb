"""Selective distillation: how chosen layers of the student learn from layers of the teacher.

Features are states [B, L, d] or maps [B, C, H, W], one per pair of layers (`layer_map`); every loss is a mean over the
pairs and computed in fp32.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What a train.py needs beside the losses: it may import methods alone.
from baselines.methods.initialise import init_from_teacher as init_from_teacher
from baselines.methods.kd import fp32
from baselines.methods.layer_map import layer_pairs as layer_pairs
from baselines.models.layers import features as features
from baselines.models.layers import spatial as spatial
from baselines.models.layers import taps as taps
from baselines.models.layers import widths as widths

Norm = Literal["layer", "none", "l2"]


class Projections(nn.Module):
    """One learned map per pair from the student's width to the teacher's; it exists only while training.

    A linear layer for states, a 1×1 convolution with bias for maps; identity at the start where the widths are equal,
    else orthogonal.
    """

    def __init__(self, student_widths: Sequence[int], teacher_widths: Sequence[int], spatial: bool) -> None:
        super().__init__()
        sizes = zip(student_widths, teacher_widths, strict=True)
        self.maps = nn.ModuleList(nn.Conv2d(s, t, 1) if spatial else nn.Linear(s, t) for s, t in sizes)
        for layer in self.maps:
            square = layer.weight.shape[0] == layer.weight.shape[1]
            (nn.init.eye_ if square else nn.init.orthogonal_)(layer.weight.flatten(1))
            nn.init.zeros_(layer.bias)

    def forward(self, student_features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Of each pair the student's states [B, L, d_s] to [B, L, d_t], or its maps [B, d_s, H, W] to [B, d_t, H, W],
        in fp32."""
        return tuple(layer(fp32(x)) for layer, x in zip(self.maps, student_features, strict=True))


def feature_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    projections: Projections | None = None,
    attention_mask: Tensor | None = None,
    norm: Norm = "layer",
) -> Tensor:
    """Mean squared distance between projected student features and teacher features, over the teacher's width and
    the positions that `attention_mask` [B, L] keeps (FitNets, arXiv 1412.6550; TinyBERT, arXiv 1909.10351).

    `norm` acts on both sides along the width or the channels: layer norm without affine, unit length, or none. Of two
    maps of different size the larger is average-pooled to the smaller. Raises ValueError where shapes cannot meet.
    """
    losses = []
    for student, teacher in _matched(student_features, teacher_features, projections):
        distance = _normalised(student, norm) - _normalised(teacher, norm)
        losses.append(_masked_mean(distance.square().mean(dim=-1), attention_mask))
    return torch.stack(losses).mean()


def cls_loss(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], projections: Projections | None = None
) -> Tensor:
    """Squared distance between the unit-length first-token states (PKD, arXiv 1908.09355). The two sides may be
    tokenised differently. Raises ValueError for maps, which have no first token."""
    if any(states.dim() != 3 for states in student_features):
        raise ValueError('maps have no first token: use signal "hidden" or "attention"')
    first = [[states[:, :1] for states in side] for side in (student_features, teacher_features)]
    distances = [_normalised(s, "l2") - _normalised(t, "l2") for s, t in _matched(*first, projections)]
    return torch.stack([distance.square().sum(dim=-1).mean() for distance in distances]).mean()


def cosine_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    projections: Projections | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """1 - cos over the positions the mask keeps (DistilBERT, arXiv 1910.01108, which uses the final layers alone)."""
    pairs = _matched(student_features, teacher_features, projections)
    return torch.stack([_masked_mean(1 - F.cosine_similarity(s, t, dim=-1), attention_mask) for s, t in pairs]).mean()


def _matched(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], projections: Projections | None
) -> list[tuple[Tensor, Tensor]]:
    """Each pair as fp32 rows [B, positions, width] that can be subtracted."""
    if projections is not None:
        student_features = projections(student_features)
    pairs = []
    for student, teacher in zip(student_features, teacher_features, strict=True):
        if student.dim() == 4:
            student, teacher = (side.flatten(2).transpose(1, 2) for side in same_size(student, teacher))
        if student.shape[-1] != teacher.shape[-1]:
            raise ValueError(f"width {student.shape[-1]} cannot meet width {teacher.shape[-1]}: pass Projections")
        if student.shape != teacher.shape:
            raise ValueError(
                f"student states {[*student.shape]} and teacher states {[*teacher.shape]} have different positions: "
                'one tokenizer is needed, or signal "cls"'
            )
        pairs.append((fp32(student), fp32(teacher)))
    return pairs


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps in fp32, the larger average-pooled to the smaller."""
    size = [min(sides) for sides in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return F.adaptive_avg_pool2d(fp32(student), size), F.adaptive_avg_pool2d(fp32(teacher), size)


def _normalised(rows: Tensor, norm: Norm) -> Tensor:
    if norm == "layer":
        return F.layer_norm(rows, rows.shape[-1:])
    return F.normalize(rows, dim=-1) if norm == "l2" else rows


def _masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    return values.mean() if mask is None else (values * mask).sum() / mask.sum()
