"""Data selection (Lan et al. 2024, arXiv 2404.03693): which rows the teacher's answers help with.

A row's influence is by how much weighing it more raises the loss on rows that are held back: positive is harmful. It is
measured on a linear probe of the teacher's last features, which learns the teacher's answers; the paper's own rule is
not known here. All in fp64.
"""

import warnings
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.collator import Collator
from baselines.data.rows import NO_LABEL, Rows
from baselines.errors import BaselineError
from baselines.methods.embedding import embedding
from baselines.methods.held_back import held_back
from baselines.methods.lr_ds import is_wrong
from baselines.models.device import DEVICE

RESIDUAL = 1e-8
BATCH = 256
DOUBTFUL = 0.2
"""A share of labels that the teacher contradicts: above it either may be the one that is wrong."""


def keep(
    experiment, rows: Rows, selector: Literal["influence", "p_true", "none"], ratio: float, ridge: float
) -> Tensor:
    """[N]: the rows of an experiment to distil, ⌊ratio · N⌋ of them. Those that "influence" is measured on are a share
    of the labelled training rows (`held_back`). No random number is drawn."""
    logits, labels = experiment.teacher.logits[torch.as_tensor(rows.ids)], torch.as_tensor(rows.labels)
    if (share := contradicted(logits, labels)) > DOUBTFUL:
        warnings.warn(f"the teacher contradicts {share:.0%} of the labels: is it the labels?", stacklevel=2)
    if selector == "none":
        return torch.ones(len(rows), dtype=torch.bool)
    if selector == "p_true":
        return smallest(doubt(logits, labels), ratio)
    seen = teacher_embeddings(experiment, rows)
    return smallest(influence(seen, logits, labels, held_back(labels), ridge), ratio)


def contradicted(teacher_logits: Tensor, labels: Tensor) -> float:
    """The share of the labelled rows that the teacher gets wrong."""
    return is_wrong(teacher_logits, labels).sum().item() / max(1, int((labels != NO_LABEL).sum()))


def teacher_embeddings(experiment, rows: Rows) -> Tensor:
    """[N, d]: what the teacher's last layer says of each row."""
    collate = Collator(experiment.task)  # of its own: these batches are not the training's
    starts = range(0, len(rows), BATCH)
    batches = (collate([rows[i] for i in range(at, min(at + BATCH, len(rows)))]) for at in starts)
    return torch.cat([_last(experiment.teacher, batch) for batch in batches])


def _last(teacher, batch: dict[str, Tensor]) -> Tensor:
    inputs = {name: value.to(DEVICE) for name, value in batch.items()}
    [states] = teacher.features(inputs, layers=(len(teacher.widths),))
    return embedding(states).detach().cpu()


def smallest(scores: Tensor, ratio: float) -> Tensor:
    """[N]: the ⌊ratio · N⌋ rows of smallest score, ties in the order of the rows. Raises ValueError unless
    0 < ratio ≤ 1."""
    if not 0 < ratio <= 1:
        raise ValueError(f"the share to keep must lie above 0 and at most at 1, got {ratio}")
    kept = scores.argsort(stable=True)[: int(ratio * len(scores) + 1e-9)]
    return torch.zeros(len(scores), dtype=torch.bool).index_fill(0, kept, True)


def doubt(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """1 − p_t(y), the selector to compare with; 0 for a row without a label."""
    sure = teacher_logits.double().softmax(dim=-1).gather(1, labels.clamp_min(0)[:, None])[:, 0]
    return torch.where(labels == NO_LABEL, 0.0, 1 - sure)


def influence(embeddings: Tensor, teacher_logits: Tensor, labels: Tensor, held: Tensor, ridge: float) -> Tensor:
    """I(x_i) = −∇L_valᵀ H⁻¹ ∇ℓ(x_i; teacher's answer) of every row [N].

    The probe is fitted on the rows that are not `held` [N], L_val is its cross-entropy with the labels of those that
    are, and H, the exact Hessian of the fitted objective, is never formed. Raises BaselineError as `solve` does.
    """
    inputs, answers = standardised(embeddings), teacher_logits.double().softmax(dim=-1)
    weights = fit(inputs[~held], answers[~held], ridge)
    gold = F.one_hot(labels[held], answers.shape[1]).double()
    slope = inputs[held].T @ (_predict(inputs[held], weights) - gold) / len(gold)
    found = solve(lambda v: curvature(inputs[~held], weights, v, ridge), slope)
    return -((inputs @ found) * (_predict(inputs, weights) - answers)).sum(dim=-1)


def standardised(embeddings: Tensor) -> Tensor:
    """[N, d + 1] in fp64: mean 0 and deviation 1 per column, and a column of ones. A constant column becomes 0."""
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    return torch.cat([centred / centred.std(dim=0).clamp_min(1e-6), torch.ones_like(centred[:, :1])], dim=1)


def fit(inputs: Tensor, answers: Tensor, ridge: float) -> Tensor:
    """Weights [d + 1, C] that minimise the mean cross-entropy with `answers` [n, C] plus ridge/2 · ‖weights‖²."""
    weights = torch.zeros(inputs.shape[1], answers.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = -(answers * (inputs @ weights).log_softmax(dim=-1)).sum(dim=-1).mean()
        loss = loss + ridge / 2 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weights.detach()


def curvature(inputs: Tensor, weights: Tensor, direction: Tensor, ridge: float) -> Tensor:
    """H · direction [d + 1, C] of what `fit` minimises, exactly."""
    p, moved = _predict(inputs, weights), inputs @ direction
    return inputs.T @ (p * (moved - (p * moved).sum(dim=-1, keepdim=True))) / len(inputs) + ridge * direction


def solve(product: Callable[[Tensor], Tensor], goal: Tensor) -> Tensor:
    """x with product(x) = goal, by conjugate gradients. Raises BaselineError where the residual stays above 1e-8 of
    the goal's norm."""
    found, residual = torch.zeros_like(goal), goal.clone()
    direction, size, target = residual.clone(), residual.square().sum(), RESIDUAL * goal.norm()
    for _ in range(4 * goal.numel()):
        if size.sqrt() <= target:
            break
        image = product(direction)
        step = size / (direction * image).sum()
        found, residual = found + step * direction, residual - step * image
        size, before = residual.square().sum(), size
        direction = residual + size / before * direction
    if not (left := (product(found) - goal).norm()) <= 10 * target:
        raise BaselineError(f"influence is not solved: a residual of {left:.1e} is left", "raise ridge, or use p_true")
    return found


def _predict(inputs: Tensor, weights: Tensor) -> Tensor:
    return (inputs @ weights).softmax(dim=-1)
