"""Teacher assistants (TAKD, Mirzadeh et al. 2020, arXiv 1902.03393): models of sizes in between pass the knowledge on
where teacher and student are too far apart. Each link is `kd.distillation`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.errors import BaselineError
from baselines.methods.kd import distillation


def chain(parameters: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(teaches, learns) by place for models given from teacher to student, in the order they are trained.

    Raises BaselineError unless there is an assistant and each model is smaller than the one before.
    """
    if len(parameters) < 3:
        raise BaselineError(f"{len(parameters)} models leave no assistant", "add one of a size in between, or use kd")
    links = tuple(zip(range(len(parameters)), range(1, len(parameters)), strict=False))
    for teaches, learns in links:
        if parameters[learns] >= parameters[teaches]:
            raise BaselineError(
                f"model {learns} of the chain has {parameters[learns]} parameters, its teacher {parameters[teaches]}",
                "order the models from teacher to student, each smaller than the one before",
            )
    return links


def best_assistant(accuracies: Sequence[float], teacher: float, student: float) -> int:
    """The candidate whose plainly trained dev accuracy lies closest to the middle of the teacher's and the student's
    (the paper's rule of thumb); of two equally close the first. Raises ValueError without a candidate."""
    middle = (teacher + student) / 2
    return min(range(len(accuracies)), key=lambda candidate: abs(accuracies[candidate] - middle))


def densely_guided(
    student_logits: Tensor, upstream: Sequence[Tensor], temperature: float, keep: Sequence[bool] | None = None
) -> Tensor:
    """Σ over the models above of `kd.distillation` from each (DGKD, Son et al. 2021, arXiv 2009.08825): an assistant's
    error is not passed on alone. `upstream` holds logits [B, C], the teacher's first; `keep` says which models teach at
    this step, of which the paper drops some at random. Raises ValueError when none is kept."""
    teachers = [logits for place, logits in enumerate(upstream) if keep is None or keep[place]]
    if not teachers:
        raise ValueError("no model is kept to learn from: keep the teacher at least")
    return torch.stack([distillation(student_logits, logits, temperature) for logits in teachers]).sum()
