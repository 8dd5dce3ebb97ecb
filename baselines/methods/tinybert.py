"""TinyBERT (Jiao et al. 2020, arXiv 1909.10351): embeddings, hidden states and attention scores, layer by layer.

States are [B, L, d], scores [B, heads, L, L]. The paper trains on these first and on the logits afterwards; here both
are minimised together, so that one number of steps is compared with the other methods.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.errors import BaselineError
from baselines.methods.heads import Heads, scores
from baselines.methods.selective import Projections, feature_loss


def hidden_loss(
    student_states: Sequence[Tensor], teacher_states: Sequence[Tensor], projections: Projections, mask: Tensor
) -> Tensor:
    """Σ over pairs of the mean squared error of h_s · W and h_t (equations 8 and 9: the embedding is a pair like the
    others), over the positions that `mask` [B, L] keeps. The paper shares one W between the layers; here each pair
    has its own."""
    return len(student_states) * feature_loss(student_states, teacher_states, projections, mask, norm="none")


def score_loss(student: Sequence[Heads], teacher: Sequence[Heads], mask: Tensor) -> Tensor:
    """Σ over pairs of the mean squared error of the attention scores before the softmax (equation 7), over heads and
    over valid queries and keys.

    The published code keeps padded positions in the mean, as zeros, so its loss shrinks with padding. Raises
    BaselineError when the numbers of heads differ: head i has no counterpart then.
    """
    valid = mask[:, :, None] * mask[:, None, :]
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        if ours.count != theirs.count:
            hint = "give both models the same number of heads, or use pkd, which compares states alone"
            raise BaselineError(f"{ours.count} heads (student) and {theirs.count} (teacher) cannot be paired", hint)
        difference = scores(ours.queries, ours.keys, ours.count) - scores(theirs.queries, theirs.keys, theirs.count)
        losses.append((difference.square().mean(dim=1) * valid).sum() / valid.sum())
    return torch.stack(losses).sum()
