"""Deep mutual learning (Zhang et al. 2018, arXiv 1706.00384): students that start apart teach each other, and nobody is
trained before.

    L_i = (1 − alpha) · CE(z_i, y) + alpha · mean over j ≠ i of T² · KL(sg[p_j] ‖ p_i)

p_i = softmax(z_i / T), and sg stops the gradient: a peer is imitated and not pulled along. alpha = 0.5 is the paper's
sum up to scale. Logits are [B, C], one tensor per peer; labels are [B] with -100 for a row that has none.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.methods.kd import cross_entropy, distillation


def mutual(logits: Sequence[Tensor], labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(cross-entropy, imitation), each [M], of every peer; the imitation is averaged over the other M − 1 peers.

    Every peer learns from the others as they answer before the step ("simultaneous" order), so one backward pass of the
    sum trains all. The paper goes "sequential": it updates one peer, lets it answer again, and only then updates the
    next, which costs M − 1 forwards more and makes the result depend on the order of the peers.
    Raises ValueError for fewer than two peers, and as `divergences` does.
    """
    if len(logits) < 2:
        raise ValueError("mutual learning takes two peers or more")
    return cross_entropies(logits, labels), divergences(logits, temperature).sum(dim=0) / (len(logits) - 1)


def cross_entropies(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """[M]: each peer's `cross_entropy`."""
    return torch.stack([cross_entropy(own, labels) for own in logits])


def divergences(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """[M, M]: at j, i how far peer i is from peer j, T² · mean_b KL(sg[p_j] ‖ p_i) in nats; 0 where i = j.

    Raises ValueError as `kd.refuse_mismatch` does: peers must tell the same classes apart.
    """
    rows = [[distillation(own, source.detach(), temperature) for own in logits] for source in logits]
    apart = 1 - torch.eye(len(logits), device=logits[0].device)
    return apart * torch.stack([torch.stack(row) for row in rows])
