"""DIST (Huang et al. 2022, arXiv 2205.10536): the student keeps the teacher's relations, not its probabilities.

A relation is a Pearson correlation, which no positive scale and no shift changes: between the classes of one row, and
between the rows of one class. Logits are [B, C].
"""

import torch
from torch import Tensor

from baselines.methods.kd import fp32, refuse_mismatch

FLAT = 1e-7  # probabilities that spread less than this differ by rounding alone


def relations(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(inter-class, intra-class) distance of softmax(z/T): 1 − ρ over each row's classes, averaged over B rows, and
    1 − ρ over each class's rows, averaged over C classes (section 4). The paper weighs both alike.

    There is no T² as there is none in the paper: correlation undoes the scale, so the gradient keeps its size when T
    grows, and the T² of the published code lets it explode. A row or a class that does not vary counts as
    uncorrelated, distance 1, without a gradient. Raises ValueError as `refuse_mismatch` does.
    """
    refuse_mismatch(student_logits, teacher_logits, temperature)
    student = (fp32(student_logits) / temperature).softmax(dim=-1)
    teacher = (fp32(teacher_logits) / temperature).softmax(dim=-1)
    return pearson_distance(student, teacher).mean(), pearson_distance(student.T, teacher.T).mean()


def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 − ρ per row of [N, M], between 0 and 2 (section 4)."""
    return 1 - (_standard(student) * _standard(teacher)).sum(dim=-1)


def _standard(rows: Tensor) -> Tensor:
    """Each row centred and of length 1, or zero where it does not vary."""
    centred = rows - rows.mean(dim=-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    return centred / length.masked_fill(length < FLAT, torch.inf)
