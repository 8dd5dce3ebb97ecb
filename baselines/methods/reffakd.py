"""Soft labels without a teacher (ReffAKD, Doshi and Kim 2024, arXiv 2404.09886): how much classes look alike, measured
on embeddings that know no label, stands in for what a teacher would say.

All that training needs is a table q [C, C] whose row a is the soft label of class a. Embeddings are [N, d], labels [N].
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.data.rows import NO_LABEL, Rows
from baselines.errors import BaselineError
from baselines.methods.kd import fp32
from baselines.methods.unsupervised import embeddings

MARGIN = 1e-6
"""By how much a class must be more like itself than like any other, at least."""
HALVINGS = 100


def class_table(rows: Rows, classes: int, per_class: int, boost: float, tau: float, seed: int) -> Tensor:
    """The table q [C, C] of these training rows, from at most `per_class` of each class; tau = 0 stands for the one
    that `balanced_tau` finds. The caller's random numbers do not move.

    Raises BaselineError as `refuse_missing` does.
    """
    labels = torch.as_tensor(rows.labels)
    refuse_missing(labels, classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        chosen = drawn(labels, per_class)
        likeness = similarity(embeddings(rows, chosen), labels[chosen], classes)
    likeness = boosted(likeness, boost)
    return soft_labels(likeness, tau or balanced_tau(likeness))


def refuse_missing(labels: Tensor, classes: int) -> None:
    """Raises BaselineError for fewer than two classes, and for a class without a labelled row, which resembles none."""
    if classes < 2:
        raise BaselineError(f"{classes} class resembles no other", "use finetune")
    counts = torch.bincount(labels[labels != NO_LABEL], minlength=classes)
    if missing := (counts == 0).nonzero()[:, 0].tolist():
        raise BaselineError(f"no labelled row of class {missing[0]}", "label a row of each class, or use kd")
    if single := (counts == 1).nonzero()[:, 0].tolist():
        warnings.warn(f"class {single[0]} has a single row: its likeness to itself is set to 1", stacklevel=2)


def drawn(labels: Tensor, per_class: int) -> Tensor:
    """Places of `per_class` random rows of each class, of all where there are fewer (step 2; the paper takes 40)."""
    known = labels[labels != NO_LABEL].unique()
    return torch.cat([_some((labels == label).nonzero()[:, 0], per_class) for label in known])


def _some(places: Tensor, count: int) -> Tensor:
    return places[torch.randperm(len(places))[:count]]


def similarity(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """S [C, C]: the mean cosine between a row of class a and another of class b (step 2).

    With unit embeddings and their class sums M_a it is M_a·M_b / (n_a n_b), and (‖M_a‖² − n_a) / (n_a² − n_a) for two
    rows of one class. A class of one row is 1 to itself. Embeddings that are zero are left out, with a warning.
    """
    length = fp32(embeddings).norm(dim=-1)
    if dead := int((length == 0).sum()):
        warnings.warn(f"{dead} of {len(length)} embeddings are zero and left out", stacklevel=2)
    unit, labels = F.normalize(fp32(embeddings)[length > 0], dim=-1), labels[length > 0]
    hot = F.one_hot(labels, classes).to(unit)
    sums, count = hot.T @ unit, hot.sum(dim=0)
    across = sums @ sums.T / (count[:, None] * count)
    within = (sums.square().sum(dim=-1) - count) / (count.square() - count)
    if not count.all():
        raise BaselineError(f"every embedding of class {int(count.argmin())} is zero", "draw more rows per class")
    return torch.where(torch.eye(classes, dtype=torch.bool), torch.where(count == 1, 1.0, within), across)


def boosted(likeness: Tensor, least: float) -> Tensor:
    """S with δ added to its diagonal: the smallest δ ≥ `least` that makes each class more like itself than like any
    other (step 3; the published δ is 0.0225 for CIFAR-100 and 0.008 for Fashion-MNIST, and fixed)."""
    identity = torch.eye(len(likeness), dtype=torch.bool)
    rival = likeness.masked_fill(identity, -torch.inf).amax(dim=-1)
    delta = (rival - likeness.diagonal()).amax() + MARGIN
    return likeness + identity * delta.clamp_min(least)


def soft_labels(likeness: Tensor, tau: float) -> Tensor:
    """q [C, C]: softmax of each row of S / τ (step 4). Raises ValueError for τ ≤ 0.

    S / τ are also the logits that stand in for a teacher's in any other method. The published τ of 1 makes all rows
    nearly uniform, which is label smoothing.
    """
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}")
    return (likeness / tau).softmax(dim=-1)


def balanced_tau(likeness: Tensor) -> float:
    """The τ at which a class keeps half of its own soft label, on average over the classes."""
    low, high = 1e-4, 1e4
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        sharper = soft_labels(likeness.double(), middle).diagonal().mean() < 0.5
        low, high = (low, middle) if sharper else (middle, high)
    return (low * high) ** 0.5


def class_distillation(logits: Tensor, labels: Tensor, table: Tensor, temperature: float) -> Tensor:
    """T² · KL(q_y ‖ softmax(z_s / T)) in nats (step 5), summed over the labelled rows and divided by all B rows.

    T softens the student alone: the table has its own τ. The published code divides by B · C on two of its data sets.
    """
    student = F.log_softmax(fp32(logits) / temperature, dim=-1)
    divergences = F.kl_div(student, table[labels.clamp_min(0)], reduction="none").sum(dim=-1)
    return temperature**2 * divergences.where(labels != NO_LABEL, 0.0).sum() / len(labels)
