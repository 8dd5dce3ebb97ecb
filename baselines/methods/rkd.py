"""Relational distillation (Park et al. 2019, arXiv 1904.05068): the distances and angles between a batch's examples.

Embeddings are [B, d], with different d for student and teacher: relations need no projection.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.errors import BaselineError
from baselines.methods.embedding import embedding
from baselines.methods.kd import fp32


def relational(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance loss + 2 · angle loss, the paper's proportion for both (RKD-DA); the CRD benchmark multiplies it by 25.

    Raises BaselineError for fewer than three examples, which form no angle.
    """
    if len(student) < 3:
        raise BaselineError(f"{len(student)} examples form no angle", "set batch_size to 3 or more")
    return distance_loss(student, teacher) + 2 * angle_loss(student, teacher)


def relation_loss(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """`relational` of each pair's layers, averaged; features are states [B, L, d] or maps [B, d, H, W]."""
    pairs = zip(student_features, teacher_features, strict=True)
    return torch.stack([relational(embedding(student), embedding(teacher)) for student, teacher in pairs]).mean()


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber distance of the pairwise distances, each side divided by its own mean (section 3.2.1).

    A mean over the B(B − 1)/2 pairs. The published code counts each example's distance to itself as well, which makes
    the loss smaller by (B − 1)/B.
    """
    return F.smooth_l1_loss(_distances(student), _distances(teacher))


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber distance of cos ∠ijk over all ordered triples of different examples (section 3.2.2).

    The published code also averages over triples that name one example twice, whose angle means nothing.
    """
    count = len(student)
    difference = F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="sum")  # 0 where i, j, k repeat
    return difference / (count * (count - 1) * (count - 2))


def _distances(embeddings: Tensor) -> Tensor:
    distances = F.pdist(fp32(embeddings))
    return distances / distances.mean().clamp_min(torch.finfo(distances.dtype).tiny)


def _cosines(embeddings: Tensor) -> Tensor:
    """[B, B, B]: at j, i, k the cosine of the angle at j between i and k, 0 where one of them coincides with j."""
    rows = fp32(embeddings)
    edges = rows[None] - rows[:, None]
    length = edges.norm(dim=-1, keepdim=True)
    edges = edges / length.masked_fill(length == 0, torch.inf)  # no gradient either: it would be endless
    return edges @ edges.mT
