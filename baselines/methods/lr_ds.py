"""Label revision (Lan et al. 2024, arXiv 2404.03693): where the teacher is wrong, its answer is mixed with the label
until the label is on top again. Which rows to distil at all: `influence`.

Logits are [B, C], labels [B]; a row without a label (-100) counts as one that the teacher gets right.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.rows import NO_LABEL
from baselines.methods.kd import cross_entropy, distillation, fp32, refuse_mismatch


def is_wrong(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """[B]: whether the teacher prefers another class to the label."""
    return (labels != NO_LABEL) & (teacher_logits.argmax(dim=-1) != labels)


def revised(teacher_logits: Tensor, labels: Tensor, eta: float, apply: Literal["wrong", "all"] = "wrong") -> Tensor:
    """Logits [B, C] of the revised answers p̂ = β·p_t + (1 − β)·onehot(y), with β = η / (p_max − p_tar + 1).

    The label then leads every other class by 1 − η where it did not lead before, and the other classes keep their
    ratios. Rows that the teacher gets right are returned as they are, unless `apply` is "all". Revision happens at
    T = 1; `distillation` of the result softens it as p̂^(1/T). Raises ValueError unless 0 < η < 1: at 1 there are ties.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta must lie between 0 and 1, got {eta}")
    log_p, target = fp32(teacher_logits).log_softmax(dim=-1), labels.clamp_min(0)[:, None]
    log_tar = log_p.gather(1, target)
    beta = eta / (log_p.amax(dim=-1, keepdim=True).exp() - log_tar.exp() + 1)
    mixed = (beta * log_tar.exp() + 1 - beta).log()
    corrected = (beta.log() + log_p).scatter(1, target, mixed)  # logarithms throughout: no 0 · ∞ of a class with p = 0
    changed = is_wrong(teacher_logits, labels) if apply == "wrong" else labels != NO_LABEL
    return torch.where(changed[:, None], corrected, fp32(teacher_logits))


def selected_distillation(
    student_logits: Tensor, answers: Tensor, labels: Tensor, kept: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(T² · KL(p̂^T ‖ p_s^T) of the rows `kept` [B], cross-entropy of the others), each divided by all B rows.

    `answers` are the teacher's logits, revised or not. Their sum, weighted with α beside (1 − α) times the
    cross-entropy of all rows, leaves the rows that are not kept with their labels alone. A part without a row is 0.
    """
    refuse_mismatch(student_logits, answers, temperature)
    taught = torch.where(kept[:, None], fp32(student_logits), fp32(answers))  # the others have nothing to learn
    return distillation(taught, answers, temperature), cross_entropy(student_logits, labels.masked_fill(kept, NO_LABEL))


def regression(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, eta: float, right: float = 4.0, wrong: float = 1.0
) -> Tensor:
    """The published variant: mean over the teacher's right rows of CE + λ₁ · mean squared error of logits, plus λ₂
    (`wrong`) · mean over its wrong ones of the squared error between the student's probabilities and p̂.

    It gives wrong rows no cross-entropy; with a noisy teacher it did harm (0.831 against 0.966 of the labels alone).
    A mean over no row is 0.
    """
    refuse_mismatch(student_logits, teacher_logits, 1.0)
    missed = is_wrong(teacher_logits, labels)
    student, teacher = fp32(student_logits), fp32(teacher_logits)
    task = F.cross_entropy(student, labels, ignore_index=NO_LABEL, reduction="none")
    distance = (student - teacher).square().mean(dim=-1)
    answers = revised(teacher, labels, eta).softmax(dim=-1)
    corrected = (student.softmax(dim=-1) - answers).square().mean(dim=-1)
    return _mean(task + right * distance, ~missed) + wrong * _mean(corrected, missed)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Over the chosen rows; 0 where there are none."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp_min(1)
