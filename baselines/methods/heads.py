"""Queries, keys and values: what a transformer block computes its attention from, taken while the model runs."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from baselines.errors import BaselineError
from baselines.methods.kd import fp32
from baselines.models.families import family_of
from baselines.models.layers import blocks

INSTEAD = {
    "image": "for images use attention (where a map is active), dist or dkd",
    "text": "use kd or another method of answers, or a model of a family that has them, such as bert",
    "language": "use kd or dpkd, which compare answers",
}
"""What works where a family has no attention heads to look into, by the kind of its rows."""
HEADS = ("query", "key", "value")


class Heads(NamedTuple):
    """Of one block, each [B, L, d] with its `count` heads side by side."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    count: int


def run(model: PreTrainedModel, inputs: Mapping[str, Tensor], layers: Sequence[int]) -> tuple:
    """One forward pass with hidden states: (its output, the Heads of each of these layers, counted from 1).

    No hook stays behind. Raises BaselineError for a family whose heads cannot be reached, as those of a CNN, which has
    none, and for an unknown one.
    """
    family = family_of(model.config)
    if not all(part in family.parts for part in HEADS):
        raise BaselineError(f"{model.config.model_type} has no queries, keys and values", INSTEAD[family.kind])
    names = [family.parts[part] for part in HEADS]
    taken: dict[tuple[int, str], Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            for name in names:
                hooks.enter_context(_keep(blocks(model)[layer - 1].get_submodule(name), taken, (layer, name)))
        output = model(**inputs, output_hidden_states=True)
    count = model.config.num_attention_heads
    return output, tuple(Heads(*(taken[layer, name] for name in names), count) for layer in layers)


def scores(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """left · rightᵀ / √(d / heads) per head in fp32: [B, L, d] twice → [B, heads, L, L].

    Raises ValueError where `heads` does not divide d.
    """
    if left.shape[-1] % heads:
        raise ValueError(f"{heads} heads do not divide the width {left.shape[-1]}")
    left, right = (fp32(side).unflatten(-1, (heads, -1)).transpose(1, 2) for side in (left, right))
    return left @ right.mT / left.shape[-1] ** 0.5


def _keep(module: nn.Module, taken: dict, place: tuple[int, str]) -> RemovableHandle:
    return module.register_forward_hook(lambda module, arguments, output: taken.update({place: output}))
