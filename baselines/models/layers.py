"""The layers of a model, counted from 1: the blocks of a transformer, the stages of a CNN.

Their outputs, the features, are states [B, L, d] or maps [B, C, H, W].
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

# Hugging Face builds every MobileNetV2 from 16 blocks; at output stride 32 these end the 1/4, 1/8, 1/16 and 1/32 maps.
MOBILENET_V2_STAGES = (1, 4, 11, 15)
CNNS = ("resnet", "mobilenet_v2")


def taps(model: PreTrainedModel) -> tuple[int, ...]:
    """The indices into `hidden_states` at which the model's layers end. Raises ValueError for an unknown family."""
    config = model.config
    if config.model_type == "mobilenet_v2":
        return MOBILENET_V2_STAGES
    if config.model_type == "resnet":
        return tuple(range(1, len(config.depths) + 1))  # 0 is the stem
    if hasattr(config, "num_hidden_layers"):
        return tuple(range(1, config.num_hidden_layers + 1))  # 0 is the embedding
    raise ValueError(f"no layers are known for {config.model_type}: use a transformer encoder or one of {CNNS}")


def widths(model: PreTrainedModel) -> tuple[int, ...]:
    """Per layer: d of its states or C of its maps."""
    if model.config.model_type == "mobilenet_v2":
        return tuple(model.base_model.layer[i].reduce_1x1.convolution.out_channels for i in taps(model))
    if model.config.model_type == "resnet":
        return tuple(model.config.hidden_sizes)
    return (model.config.hidden_size,) * len(taps(model))


def spatial(model: PreTrainedModel) -> bool:
    """True when the model's features are maps [B, C, H, W]."""
    return model.config.model_type in CNNS


def features(model: PreTrainedModel, hidden_states: Sequence[Tensor], layers: Iterable[int]) -> tuple[Tensor, ...]:
    """The outputs of these layers among a forward pass's `hidden_states`."""
    ends = taps(model)
    return tuple(hidden_states[ends[layer - 1]] for layer in layers)


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The N blocks of a transformer, first to last, each from states [B, L, d] to states [B, L, d]. Raises ValueError
    for a model without any."""
    base = model.base_model
    blocks = getattr(getattr(base, "encoder", None) or getattr(base, "transformer", None), "layer", None)
    if blocks is None:
        raise ValueError(f"{model.config.model_type} has no transformer blocks")
    return blocks
