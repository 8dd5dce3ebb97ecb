"""Data-partition distillation (Alballa and Canini 2024, arXiv 2402.14922, after Roth et al. 2024, arXiv 2310.17653).

Each row is taught by whoever is surer of it, the teacher or the student as it was before, so that what the student knew
and the teacher does not is not overwritten.

Logits are [B, C]; labels are [B] with -100 for a row that has none.
"""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.data.rows import NO_LABEL
from baselines.methods.kd import fp32, refuse_mismatch

Mode = Literal["supervised", "unsupervised"]


def trusts_teacher(teacher_logits: Tensor, start_logits: Tensor, labels: Tensor, mode: Mode) -> Tensor:
    """[B]: whether the teacher gives the label more probability than the student did before; where there is no label,
    or `mode` is "unsupervised", whether its largest probability is the larger. Ties keep the student.

    Raises ValueError as `refuse_mismatch` does.
    """
    refuse_mismatch(start_logits, teacher_logits, 1.0)
    teacher, start = (fp32(side).log_softmax(dim=-1) for side in (teacher_logits, start_logits))
    surer = teacher.amax(dim=-1) > start.amax(dim=-1)
    if mode == "unsupervised":
        return surer
    target = labels.clamp_min(0)[:, None]
    nearer = (teacher.gather(1, target) > start.gather(1, target))[:, 0]
    return torch.where(labels == NO_LABEL, surer, nearer)


def partitioned(teacher_logits: Tensor, start_logits: Tensor, labels: Tensor, mode: Mode) -> Tensor:
    """Logits [B, C] to distil from: the teacher's where it is trusted, else the student's own from before."""
    trusted = trusts_teacher(teacher_logits, start_logits, labels, mode)
    return torch.where(trusted[:, None], fp32(teacher_logits), fp32(start_logits))


def flips(before: Tensor, after: Tensor, labels: Tensor) -> tuple[float, float]:
    """(positive, negative): the shares of rows whose predicted class [N] was wrong and became right, and the reverse;
    their difference is the gain in accuracy."""
    was, now = before == labels, after == labels
    return (now & ~was).double().mean().item(), (was & ~now).double().mean().item()


class Frozen(nn.Module):
    """A model as it was at some time: it answers in eval mode, and has no parameter to train.

    As a part of the student it goes into checkpoints with it; its weights are buffers, so that setting them again is no
    update of the student.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        for module in self.model.modules():
            for name, value in [*module.named_parameters(recurse=False)]:
                delattr(module, name)
                module.register_buffer(name, value.detach())

    @torch.no_grad()
    def take(self, model: nn.Module) -> None:
        """Become a copy of the model as it is now, whatever else has been attached to it."""
        values = model.state_dict()
        for name, mine in self.model.state_dict().items():
            mine.copy_(values[name])

    @torch.no_grad()
    def logits(self, **inputs: Tensor) -> Tensor:
        """Its logits [B, C]; no gradient."""
        self.model.eval()  # the Trainer puts the student, and all that is attached to it, into training mode
        return self.model(**inputs).logits
