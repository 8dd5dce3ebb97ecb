"""MobileNetV2 whose convolutions pad their own input.

The library copies every feature map into a padded one before each convolution, also where nothing is to be added. What
is computed stays the same; what the copies cost stands in docs/benchmarks.md.
"""

import copy

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2ConvLayer, apply_tf_padding


class SelfPadding(nn.Conv2d):
    """TensorFlow's "same" padding, which adds as much on both sides where the stride is 1: what a convolution can do.

    Not on maps that are smaller than the kernel: there the copy takes less time.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, H, W] to maps [B, C', H / stride, W / stride]."""
        if self.stride != (1, 1) or min(features.shape[-2:]) < max(self.kernel_size):
            return super().forward(apply_tf_padding(features, self))
        each_side = [(size - 1) // 2 * apart for size, apart in zip(self.kernel_size, self.dilation, strict=True)]
        return F.conv2d(features, self.weight, self.bias, 1, each_side, self.dilation, self.groups)


def by_convolutions(model: nn.Module) -> nn.Module:
    """The same model, none of whose layers pads for its convolution; other models stay as they are."""
    layers = [each for each in model.modules() if isinstance(each, MobileNetV2ConvLayer) and each.config.tf_padding]
    for layer in layers:
        layer.config = copy.copy(
            layer.config
        )  # the layer alone reads it; the model's own attribute decides the computation
        layer.config.tf_padding = False
        layer.convolution.__class__ = SelfPadding
    return model
