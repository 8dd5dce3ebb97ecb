"""Values that Trainer computes again at every step though they stay the same."""

from collections.abc import Iterator
from functools import cache

import accelerate.optimizer
from torch import nn
from transformers import TrainerCallback


class LeanCallback(TrainerCallback):
    """While the model trains its modules and parameters are listed and counted once: putting it into training mode,
    clipping, clearing the gradients and an estimate of operations that nobody reads each walk through all of it
    otherwise. A package for another optimizer is looked for on disk once, and not twice at every step."""

    def __init__(self) -> None:
        self.look = accelerate.optimizer.is_lomo_available

    def on_train_begin(self, args, state, control, *, model, **kwargs):
        known = _Known(model)
        model.parameters, model.train = known.parameters, known.train
        if hasattr(model, "num_parameters"):
            model.num_parameters = known.number
        accelerate.optimizer.is_lomo_available = cache(self.look)

    def on_train_end(self, args, state, control, *, model, **kwargs):
        for name in ("parameters", "train", "num_parameters"):
            vars(model).pop(name, None)
        accelerate.optimizer.is_lomo_available = self.look


class _Known:
    """Bound methods of an object, since a copy of the model copies that too: a function would go on to list the
    parameters of the model that the copy was made from."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.listed, self.modules = model, tuple(model.parameters()), tuple(model.modules())
        self.count = model.num_parameters(exclude_embeddings=True) if hasattr(model, "num_parameters") else 0

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(self.listed) if recurse else nn.Module.parameters(self.model, recurse=False)

    def train(self, mode: bool = True) -> nn.Module:
        for module in self.modules:
            if module.training is not mode:
                return type(self.model).train(self.model, mode)
        return self.model

    def number(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        if only_trainable or not exclude_embeddings:
            return type(self.model).num_parameters(self.model, only_trainable, exclude_embeddings)
        return self.count
