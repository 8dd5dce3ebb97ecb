"""Contrastive representation distillation (CRD, Tian et al. 2020, arXiv 1910.10699): the student's embedding of an
example must be told apart, by a critic, as belonging to the teacher's embedding of the same example.

The paper keeps an embedding of every training row in a memory bank. Here the other examples are those of the batch and
of a queue of recent batches, kept as the teacher gave them and passed through the critic again at each step: none is
stale.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.methods.embedding import embedding
from baselines.methods.kd import fp32

EMPTY = -1
"""The id at a place of the queue without an example yet."""


class Critic(nn.Module):
    """A linear map to `width` dimensions for each side, of length 1; trained with the student and dropped with it."""

    def __init__(self, student_width: int, teacher_width: int, width: int) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student_width, width), nn.Linear(teacher_width, width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, student's width] and [N, teacher's width] to [B, w] and [N, w] of length 1, in fp32."""
        ours, theirs = self.student(fp32(student)), self.teacher(fp32(teacher))
        return F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1)


class Queue(nn.Module):
    """The teacher embeddings [N, d] and ids [N] of the most recent examples, at most `size`, newest first.

    A module without weights: part of the student while it trains, so that checkpoints contain it."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, width))
        self.register_buffer("ids", torch.full((size,), EMPTY))
        self.held: int | None = None
        """Examples in the queue, once they were counted: each count would wait for a graphics card."""

    def push(self, embeddings: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a batch in front; returns everything now in it, that batch first. What it keeps is detached."""
        if self.held is None:
            self.held = int((self.ids != EMPTY).sum())
        found = torch.cat([embeddings, self.embeddings[: self.held].to(embeddings)])[: len(self.ids)]
        named = torch.cat([ids, self.ids[: self.held]])[: len(self.ids)]
        self.embeddings[: len(found)], self.ids[: len(named)] = found.detach(), named
        self.held = len(named)
        return found, named


class Contrast(nn.Module):
    """A critic and a queue for each pair of layers; their loss is `contrast`, averaged over the pairs."""

    def __init__(self, student_widths: Sequence[int], teacher_widths: Sequence[int], width: int, queue: int, rows: int):
        super().__init__()
        sizes = [*zip(student_widths, teacher_widths, strict=True)]
        self.critics = nn.ModuleList(Critic(ours, theirs, width) for ours, theirs in sizes)
        self.queues = nn.ModuleList(Queue(queue, theirs) for _, theirs in sizes)
        self.rows = rows

    def forward(
        self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], ids: Tensor, temperature: float
    ) -> Tensor:
        """Features are states [B, L, d] or maps [B, d, H, W] of the rows `ids` [B], which enter the queues."""
        losses, parts = [], zip(self.critics, self.queues, student_features, teacher_features, strict=True)
        for critic, queue, student, teacher in parts:
            others, named = queue.push(embedding(teacher), ids)
            losses.append(contrast(*critic(embedding(student), others), ids, named, self.rows, temperature))
        return torch.stack(losses).mean()


def contrast(
    student: Tensor, teacher: Tensor, ids: Tensor, queued_ids: Tensor, rows: int, temperature: float
) -> Tensor:
    """Noise-contrastive loss −log h(t, s) − Σ over negatives log(1 − h(t', s)), averaged over the B examples, with
    h = e^g / (e^g + N/M) = σ(g − log N/M) and g = ⟨t, s⟩ / τ (section 3.1).

    student [B, w] and teacher [N, w] come from the critic; `ids` [B] and `queued_ids` [N] say which rows of the M
    training rows they are, and the first B of the teacher's are the student's own. Any other entry of the same row is
    no negative. The published code divides e^g by a constant estimated from its first batch and anchors on the teacher
    as well; the paper's equations, followed here, do neither.
    """
    similarity = student @ teacher.T / temperature
    negative = ids[:, None] != queued_ids[None]
    count = negative.sum(dim=1, keepdim=True).clamp_min(1)
    evidence = similarity - (count / rows).log()
    positive = F.logsigmoid(evidence.diagonal())
    return -(positive + (F.logsigmoid(-evidence) * negative).sum(dim=1)).mean()
