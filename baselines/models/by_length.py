"""A batch of texts, read in parts of similar length: most of what would be padding is never computed.

Loss and batch stay whole, so this does not concern the plan: answers are those of the whole batch but for rounding.
"""

from collections.abc import Sequence
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.models.families import family_of, model_class

COUNTS = (1, 2, 4)
"""Parts of a batch. More save little padding."""
START = 2e5
"""What it costs to begin a part, in tokens times width², as a token's cost grows: a round figure."""
CAPTURING = "transformers.utils.output_capturing"
"""Whose hooks collect hidden states for the output, where they are put together again."""


def in_parts(model: nn.Module) -> nn.Module:
    """The same model, which reads in parts what pays on a processor; one whose family is not read so stays as it is.

    It is of a class that it alone has, so that a copy of it reads its own weights. Raises BaselineError for an unknown
    family.
    """
    kind, family = type(model), family_of(model.config)
    if not family.by_length or kind is not model_class(family):
        return model

    @wraps(kind.forward)
    def forward(self, input_ids=None, attention_mask=None, **given):
        shares = _shares(self, input_ids, attention_mask, given)
        if len(shares) < 2:
            return kind.forward(self, input_ids=input_ids, attention_mask=_prepared(self, attention_mask), **given)
        found = []
        for rows, longest in shares:
            ids, mask = (each.index_select(0, rows)[:, :longest] for each in (input_ids, attention_mask))
            found.append(kind.forward(self, input_ids=ids, attention_mask=mask, **given))
        order = torch.cat([rows for rows, _ in shares]).argsort()
        parts = {name: [output[name] for output in found] for name in found[0]}
        return type(found[0])(**{name: _joined(values, order, input_ids.shape[1]) for name, values in parts.items()})

    model.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return model


def parts(lengths: Tensor, width: int) -> list[tuple[Tensor, int]]:
    """The rows of each part and its longest text, for texts of `lengths` [B]: what costs least, or all as one part."""
    order = lengths.argsort(stable=True)
    ways = [order.tensor_split(count) for count in COUNTS if count <= len(order)]
    sized = [[(rows, int(lengths[rows[-1]])) for rows in way] for way in ways]
    return min(sized, key=lambda way: sum(len(rows) * longest + START / width**2 for rows, longest in way))


def _prepared(model: nn.Module, mask: Tensor | None) -> Tensor | None:
    """On a card the mask as attention reads it: to make that of the plain one, transformers asks whether all of it is
    ones, and waits for the card."""
    if mask is None or mask.ndim != 2 or mask.is_cpu or model.config._attn_implementation != "sdpa":
        return mask
    return spread(mask)


def spread(mask: Tensor) -> Tensor:
    """[B, 1, L, L] of [B, L]: which tokens each token sees."""
    return mask.bool()[:, None, None, :].expand(-1, 1, mask.shape[1], -1)


def _shares(model: nn.Module, ids: Tensor | None, mask: Tensor | None, given: dict) -> list:
    """The parts; none on a card, where it was not measured, and none where somebody looks inside and would see them."""
    plain = ids is not None and mask is not None and not any(isinstance(value, Tensor) for value in given.values())
    if not plain or not ids.is_cpu or given.get("return_dict") is False:
        return []
    found = parts(mask.shape[1] - mask.flip(1).argmax(dim=1), model.config.hidden_size)
    return [] if len(found) > 1 and _watched(model) else found


def _watched(model: nn.Module) -> bool:
    inside = (part for part in model.modules() if part is not model)
    hooks = (each for part in inside for each in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks))
    return any(getattr(hook, "__module__", "") != CAPTURING for each in hooks for hook in each.values())


def _joined(values: Sequence, order: Tensor, length: int):
    """Of all parts, in the batch's order: [b, C], [b, l, d] or [b, heads, l, l] each, or tuples of them. Up to `length`
    there are zeros."""
    if isinstance(values[0], tuple):
        return tuple(_joined(each, order, length) for each in zip(*values, strict=True))
    pads = {2: lambda short: (), 3: lambda short: (0, 0, 0, short), 4: lambda short: (0, short, 0, short)}
    missing = pads[values[0].ndim]
    return torch.cat([F.pad(value, missing(length - value.shape[-2])) for value in values]).index_select(0, order)
