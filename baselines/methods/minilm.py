"""MiniLM: how tokens relate within one block, whatever the widths and the numbers of heads.

The second version (Wang et al. 2021, arXiv 2012.15828) compares query-query, key-key and value-value relations; the
first (Wang et al. 2020, arXiv 2002.10957) the attention itself, query-key, and value-value. One block is distilled: the
student's last, from the teacher's last, or from an upper middle one of a large teacher.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.methods.heads import Heads, scores

RELATIONS = {
    "self": (("queries", "queries"), ("keys", "keys"), ("values", "values")),
    "attention": (("queries", "keys"), ("values", "values")),
}
"""MiniLMv2's three relations, and MiniLM's two."""

FAR = -1e9  # a score whose probability is 0 and whose logarithm is finite


def relation_loss(
    student: Heads, teacher: Heads, heads: int, attention_mask: Tensor, kind: Literal["self", "attention"] = "self"
) -> Tensor:
    """Σ over relations KL(teacher ‖ student) in nats, averaged over relation heads and over the valid queries that
    `attention_mask` [B, L] keeps (MiniLMv2, section 3.1; MiniLM, sections 3.1 and 3.2).

    `heads` relation heads are cut from the widths again, so it must divide both: the paper takes 48 for width 768, the
    first version the number of attention heads. Raises ValueError where it does not divide.
    """
    losses = []
    for left, right in RELATIONS[kind]:
        ours, theirs = (
            relation(getattr(side, left), getattr(side, right), heads, attention_mask) for side in (student, teacher)
        )
        divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1).mean(dim=1)
        losses.append((divergence * attention_mask).sum() / attention_mask.sum())
    return torch.stack(losses).sum()


def relation(left: Tensor, right: Tensor, heads: int, attention_mask: Tensor) -> Tensor:
    """log softmax(left · rightᵀ / √(d / heads)) over the valid keys: [B, L, d] twice → [B, heads, L, L]."""
    padding = attention_mask[:, None, None, :] == 0
    return scores(left, right, heads).masked_fill(padding, FAR).log_softmax(dim=-1)
