"""Born-again networks (Furlanello et al. 2018, arXiv 1805.04770): students of the teacher's own size, generation by
generation.

Generation 0 learns from the labels alone. Generation k starts from new random weights and learns from generation k − 1,
by `kd.distillation` or by one of the two losses below, which ask what in the teacher's answer it is that helps.
`teacher_free.refuse_other_architecture` says whether two models can be generations. Logits are [B, C].
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.methods.kd import NO_LABEL, fp32


def teacher_of(generation: int) -> int | None:
    """The generation that teaches this one; None for the first, which has labels alone. Raises ValueError below 0."""
    if generation < 0:
        raise ValueError(f"generations count from 0, got {generation}")
    return generation - 1 if generation else None


def ensemble(logits: Sequence[Tensor]) -> Tensor:
    """Log-probabilities [B, C] of several generations together: the mean of their probabilities (section 3.1, BANE)."""
    members = torch.stack([fp32(member).log_softmax(dim=-1) for member in logits])
    return members.logsumexp(dim=0) - torch.tensor(float(len(logits))).log().to(members)


def confidence_weighted(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, each row weighted by the teacher's largest probability over the sum of these
    (CWTM, section 3.2): the teacher only says how much a row counts.

    Rows without a label dilute it as they do `kd.cross_entropy`, which it is for a teacher that is equally sure of all.
    """
    known = labels != NO_LABEL
    confidence = torch.where(known, fp32(teacher_logits).softmax(dim=-1).amax(dim=-1), 0.0)
    losses = F.cross_entropy(fp32(student_logits), labels, ignore_index=NO_LABEL, reduction="none")
    weighted = (confidence * losses).sum() / confidence.sum().clamp_min(torch.finfo(losses.dtype).tiny)
    return weighted * known.sum() / len(labels)


def permuted(teacher_logits: Tensor, generator: torch.Generator) -> Tensor:
    """The teacher's logits with all but each row's largest in random order (DKPP, section 3.2): how sure it is remains,
    and no likeness between classes. The loss is `kd.distillation` from these."""
    top = teacher_logits.argmax(dim=-1, keepdim=True)
    keys = torch.rand(teacher_logits.shape, generator=generator).to(teacher_logits.device).scatter(1, top, -1.0)
    others = teacher_logits.gather(1, keys.argsort(dim=-1)[:, 1:])  # the largest sorts first and is left out
    is_top = F.one_hot(top[:, 0], teacher_logits.shape[-1]).bool()
    return teacher_logits.masked_scatter(~is_top, others)
