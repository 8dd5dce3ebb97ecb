"""Two-stage multi-teacher distillation (TMKD, Yang et al. 2020, arXiv 1910.08381): the student's encoder carries one
head per teacher, trained on unlabelled rows first and beside the labels then.

The golden head is the student's own classifier. The soft heads exist while it is trained; a prediction may average them
in (`averaged`). N teachers, B rows, C classes: soft logits and teacher logits are [N, B, C], golden logits [B, C].

| mode | students | each learns from |
|---|---|---|
| 1-o-1 | one | the best teacher |
| 1avg-o-1 | one | the mean of all teachers' logits |
| m-o-1 | one | all teachers, each through a head of its own |
| m-o-m | N | a teacher of its own; their predictions are averaged |

The paper's MKD is m-o-1 without the first stage, TKD is 1-o-1 with it, TMKD m-o-1 with it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.errors import BaselineError
from baselines.methods.kd import fp32

MODES = ("1-o-1", "1avg-o-1", "m-o-1", "m-o-m")
LARGE = 5.0
"""A standard deviation of raw logits from which they are standardised: few updates never reach such a scale."""


class SoftHeads(nn.Module):
    """One linear head per teacher on the student's encoding h [B, width]; gives soft logits [N, B, C]."""

    def __init__(self, width: int, classes: int, teachers: int) -> None:
        super().__init__()
        self.teachers = teachers
        self.heads = nn.Linear(width, teachers * classes)

    def forward(self, encoding: Tensor) -> Tensor:
        """h [B, width] to soft logits [N, B, C], in the encoding's own type."""
        return self.heads(encoding).unflatten(-1, (self.teachers, -1)).movedim(1, 0)


def soft_loss(soft_logits: Tensor, teacher_logits: Tensor, present: Tensor | None = None) -> Tensor:
    """l_s = 1/N Σ_i 1/C Σ_c (R_si(c) − R_ti(c))², averaged over the rows: raw logits, no temperature.

    `present` [N, B] says where a teacher has answered: a missing answer counts neither above nor below the line, and a
    row that no teacher has answered is 0. Raises ValueError for shapes that differ.
    """
    if soft_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"soft logits {[*soft_logits.shape]} and teacher logits {[*teacher_logits.shape]} differ: one head each"
        )
    if present is None:
        return (fp32(soft_logits) - fp32(teacher_logits)).square().mean()
    known = torch.where(present[..., None], teacher_logits, soft_logits)
    distances = (fp32(soft_logits) - fp32(known)).square().mean(dim=-1).sum(dim=0)
    return (distances / present.sum(dim=0).clamp_min(1)).mean()


def objective(golden: Tensor, soft: Tensor, alpha: float, stage: int) -> Tensor:
    """Stage 1: l_s. Stage 2: (1 − α) · l_g + α · l_s, with l_g the labels' cross-entropy (the paper's equation 5 prints
    l_d for it).

    A term without weight is left out and not multiplied by 0: a gradient of zeros would still let weight decay move
    the head. Raises ValueError for a stage that is neither 1 nor 2.
    """
    if stage not in (1, 2):
        raise ValueError(f"there are stages 1 and 2, got {stage}")
    if stage == 1 or alpha == 1:
        return soft
    return golden if alpha == 0 else (1 - alpha) * golden + alpha * soft


def averaged(golden_logits: Tensor | None, soft_logits: Tensor) -> Tensor:
    """O = 1/(N + 1) · (softmax(golden) + Σ_i softmax(R_si)), probabilities [B, C].

    Without golden logits O is the mean of the soft heads: at α = 1 the golden head has learnt nothing.
    """
    heads = fp32(soft_logits).softmax(dim=-1)
    if golden_logits is not None:
        heads = torch.cat([fp32(golden_logits).softmax(dim=-1)[None], heads])
    return heads.mean(dim=0)


def students(mode: str, teachers: int) -> int:
    """How many students a mode trains. Raises ValueError for a mode that there is not."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    return teachers if mode == "m-o-m" else 1


def targets(teacher_logits: Tensor, mode: str, student: int = 0) -> Tensor:
    """The targets of a mode's student number `student`: [M, B, C], M soft heads of it. Teachers come best first.

    Raises ValueError as `students` does, and for a student that the mode does not have.
    """
    if not 0 <= student < students(mode, len(teacher_logits)):
        raise ValueError(
            f"student {student} is not one of the {students(mode, len(teacher_logits))} of mode {mode}, numbered from 0"
        )
    if mode == "1avg-o-1":
        return fp32(teacher_logits).mean(dim=0, keepdim=True)
    return teacher_logits if mode == "m-o-1" else teacher_logits[student : student + 1]


def refuse_several_students(mode: str, teachers: int) -> None:
    """Raises BaselineError where a mode trains more than the one student that an experiment has."""
    if (count := students(mode, teachers)) > 1:
        raise BaselineError(
            f"mode {mode} trains {count} students and an experiment has one",
            "use m-o-1: one student with a head per teacher",
        )


class Scale(NamedTuple):
    """What a teacher's logits are shifted and divided by, each [N, 1, 1]; 0 and 1 for one that is left as it is."""

    mean: Tensor
    deviation: Tensor

    def to(self, device: torch.device) -> "Scale":
        return Scale(self.mean.to(device), self.deviation.to(device))

    def apply(self, teacher_logits: Tensor) -> Tensor:
        """Standardised [N, B, C], for any part of the rows that the scale was taken from."""
        return (fp32(teacher_logits) - self.mean) / self.deviation


@torch.no_grad()
def scale(teacher_logits: Tensor, large: float = LARGE) -> Scale:
    """The scale of each teacher over all its rows and classes, where its deviation is more than `large`.

    An overfit teacher's logits are so large that a student's few updates go into their size alone, and it ends below
    one that had the labels.
    """
    deviation, mean = torch.std_mean(fp32(teacher_logits), dim=(1, 2), keepdim=True, correction=0)
    standardised = deviation > large
    return Scale(torch.where(standardised, mean, 0.0), torch.where(standardised, deviation, 1.0))
