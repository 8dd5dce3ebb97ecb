"""How small causal language models learn and score texts: those that generate (genset), those that choose (miniplm).

Sequences are lists of token ids; a batch is padded on the right, and no padding ever counts.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from baselines.methods.kd import fp32


def padded(sequences: Sequence[Sequence[int]], padding: int = 0) -> tuple[Tensor, Tensor]:
    """(ids, mask), both [B, longest]; the mask is 1 where a token is."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[*sequence, *[padding] * (longest - len(sequence))] for sequence in sequences])
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return ids, (torch.arange(longest) < lengths[:, None]).long()


def token_losses(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """−log p(x_t | x_<t) in nats and fp32 for t = 2 … L: [B, L − 1], 0 where there is padding."""
    logits = fp32(model(input_ids=ids, attention_mask=mask).logits[:, :-1])
    losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return losses * mask[:, 1:]


def language_loss(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """1/|D| Σ_x 1/|x| Σ_t −log q(x_t | x_<t): the mean over a batch's sequences of the mean over each one's tokens."""
    counts = mask[:, 1:].sum(dim=1).clamp_min(1)
    return (token_losses(model, ids, mask).sum(dim=1) / counts).mean()


def fit(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    steps: int,
    seed: int,
    batch: int = 32,
    rate: float = 3e-3,
    weight_decay: float = 0.01,
) -> PreTrainedModel:
    """AdamW with a linearly falling rate on batches drawn by `seed`; leaves the model in eval mode.

    Raises FloatingPointError when the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    model.train()
    for step in range(steps):
        drawn = torch.randint(len(sequences), (min(batch, len(sequences)),), generator=generator)
        loss = language_loss(model, *(part.to(model.device) for part in padded([sequences[n] for n in drawn])))
        if not loss.isfinite():
            raise FloatingPointError(f"the language model diverged: its loss is {loss.item()} at step {step + 1}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
