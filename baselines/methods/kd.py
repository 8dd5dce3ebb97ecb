"""Distillation from logits: the two terms of (1 - alpha) * cross_entropy + alpha * distillation.

Logits are [B, C] of any float type and computed on in fp32 (fp64 stays fp64); labels are [B] with -100 for a row that
has none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.rows import NO_LABEL


def fp32(values: Tensor) -> Tensor:
    """The values in fp32, or in fp64 where that is what they are: half precision is for models, not for losses."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The labelled rows' cross-entropy divided by all B rows: equal micro-batches add up to the batch, and it is 0
    where no row is labelled."""
    return F.cross_entropy(fp32(logits), labels, ignore_index=NO_LABEL, reduction="sum") / len(labels)


def distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · mean_b KL(p_t^T ‖ p_s^T) in nats (Hinton et al. 2015, arXiv 1503.02531).

    T² keeps the gradient's size when T changes; log-softmax keeps it finite when T is small.
    Raises ValueError as `refuse_mismatch` does.
    """
    refuse_mismatch(student_logits, teacher_logits, temperature)
    student = F.log_softmax(fp32(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(fp32(teacher_logits) / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def refuse_mismatch(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> None:
    """Raises ValueError for T ≤ 0, for shapes that differ, and for a single column, whose softmax is always 1."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {[*student_logits.shape]} and teacher logits {[*teacher_logits.shape]} differ"
        )
    if student_logits.shape[-1] < 2:
        raise ValueError("one column is a score, not a class distribution: compare scores by mean squared error")


def pseudo_labels(labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The labels [B], and the teacher's most likely class where there is none."""
    return torch.where(labels == NO_LABEL, teacher_logits.argmax(dim=-1), labels)
