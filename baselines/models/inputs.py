"""The part of a batch that a model is shown."""

import inspect

from torch import nn


def accepted(model: nn.Module, inputs: dict) -> dict:
    """The part of a batch that the model's forward takes; never the labels."""
    known = set(inspect.signature(model.forward).parameters) - {"labels"}
    return {name: value for name, value in inputs.items() if name in known}
