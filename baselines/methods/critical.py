"""Critical layers: the blocks of a teacher that cost it most when they are left out."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.methods.kd import cross_entropy
from baselines.models.layers import blocks


def critical_layers(
    teacher: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]], k: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The k blocks of a transformer that cost it most when each is replaced by identity, and every block's score:
    the validation loss without it minus the loss with it, in nats. Ties go to the later block.

    `batches` hold the teacher's inputs and `labels`; 512 examples are enough. Costs N_t + 1 passes over them.
    """
    whole = _loss(teacher, batches)
    scores = []
    for block in blocks(teacher):
        with block.register_forward_hook(lambda module, arguments, output: arguments[0]):
            scores.append(_loss(teacher, batches) - whole)
    return most_critical(scores, k), tuple(scores)


def most_critical(scores: Sequence[float], k: int) -> tuple[int, ...]:
    """The k blocks of largest score, in their order; ties go to the later one."""
    ranked = sorted(range(1, len(scores) + 1), key=lambda layer: (scores[layer - 1], layer))
    return tuple(sorted(ranked[-k:]))


@torch.no_grad()
def _loss(model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]]) -> float:
    model.eval()
    losses = []
    for batch in batches:
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        losses.append(cross_entropy(logits, batch["labels"]) * len(logits))
    return float(torch.stack(losses).sum() / sum(len(batch["labels"]) for batch in batches))
