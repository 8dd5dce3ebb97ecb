"""The layers of a model, counted from 1: the blocks of a transformer, the stages of a CNN.

Their outputs, the features, are states [B, L, d] or maps [B, C, H, W].
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.models.families import family_of


def taps(model: PreTrainedModel) -> tuple[int, ...]:
    """The indices into `hidden_states` at which the model's layers end. Raises BaselineError for an unknown family."""
    ends = family_of(model.config).ends
    if not isinstance(ends, str):
        return ends
    count = getattr(model.config, ends)
    return tuple(range(1, (count if isinstance(count, int) else len(count)) + 1))


def widths(model: PreTrainedModel) -> tuple[int, ...]:
    """Per layer: d of its states or C of its maps. Raises BaselineError for an unknown family."""
    width = family_of(model.config).width
    if "{}" in width:
        return tuple(model.base_model.get_submodule(width.format(end)).out_channels for end in taps(model))
    found = getattr(model.config, width)
    return (found,) * len(taps(model)) if isinstance(found, int) else tuple(found)


def spatial(model: PreTrainedModel) -> bool:
    """True when the model's features are maps [B, C, H, W]. Raises BaselineError for an unknown family."""
    return family_of(model.config).layout == "map"


def features(model: PreTrainedModel, hidden_states: Sequence[Tensor], layers: Iterable[int]) -> tuple[Tensor, ...]:
    """The outputs of these layers among a forward pass's `hidden_states`."""
    ends = taps(model)
    return tuple(hidden_states[ends[layer - 1]] for layer in layers)


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The N blocks of a transformer, first to last, each from states [B, L, d] to states [B, L, d]. Raises ValueError
    where none can be reached, BaselineError for an unknown family."""
    path = family_of(model.config).blocks
    if not path:
        raise ValueError(f"{model.config.model_type} has no transformer blocks")
    return model.base_model.get_submodule(path)
