"""Decoupled distillation (Zhao et al. 2022, arXiv 2203.08679): what the teacher says of the target class, and what it
says of the others, weighted apart.

Equation 7 of the paper splits the distillation loss into TCKD + (1 − p_t(target)) · NCKD. A teacher that is sure of its
answer thereby mutes what it knows of the other classes; DKD gives that part a weight of its own (equation 8; α = 1 and
β = 8 in most of the paper's runs). Logits are [B, C]; labels are [B] with -100 for a row that adds to neither term.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.rows import NO_LABEL
from baselines.methods.kd import fp32, refuse_mismatch


def decoupled(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(TCKD, NCKD), each T² · KL(teacher ‖ student) in nats, summed over the labelled rows and divided by all B rows.

    TCKD compares the two-way distributions (target, any other), NCKD the distributions over the C − 1 other classes,
    which is 0 for C = 2. Everything stays in logarithms; the published code takes log(softmax) and is infinite where
    the student is certain. Raises ValueError as `refuse_mismatch` does.
    """
    refuse_mismatch(student_logits, teacher_logits, temperature)
    known = (labels != NO_LABEL)[:, None]
    student_logits = torch.where(known, student_logits, teacher_logits)  # the others have nothing to learn
    student, teacher = (_split(side, labels.clamp_min(0), temperature) for side in (student_logits, teacher_logits))
    target, others = (temperature**2 * _divergence(s, t) for s, t in zip(student, teacher, strict=True))
    return target, others


def _split(logits: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [B, 2] of target against any other class, and logits [B, C − 1] of the other classes."""
    scaled, places = fp32(logits) / temperature, torch.arange(logits.shape[-1] - 1, device=logits.device)
    others = scaled.gather(1, places + (places >= target[:, None]))
    return torch.cat([scaled.gather(1, target[:, None]), others.logsumexp(dim=-1, keepdim=True)], dim=-1), others


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div(student.log_softmax(dim=-1), teacher.log_softmax(dim=-1), reduction="batchmean", log_target=True)
