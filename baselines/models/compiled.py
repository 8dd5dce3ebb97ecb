"""A student whose forward and backward pass torch.compile has turned into kernels of their own.

Images are all of one size, so all of a CNN is compiled as one. Texts differ in length: of a transformer each block is
compiled, for any length. What hooks into a part is compiled with it.
"""

from collections.abc import Iterator
from functools import cache, wraps

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer as Block

from baselines.models.families import family_of


def compiled(model: nn.Module) -> nn.Module:
    """The same model, whose parts are compiled when they are first used; one without such parts stays as it is. Raises
    BaselineError for an unknown family.

    A part is of a class of its own kind and not wrapped, so that a copy of it reads its own weights.
    """
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # else a hook that came later would never be called
    torch._functorch.config.donated_buffer = False  # else no graph could be kept for another backward pass
    torch._inductor.config.deterministic = True  # nothing is chosen by how long it took
    torch._inductor.config.compile_threads = 1  # no processes beside this one
    for part in _parts(model):
        part.__class__ = _kind(type(part))
    return model


def is_compiled(model: nn.Module) -> bool:
    return any(hasattr(part, "as_written") for part in model.modules())


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    match family_of(model.config).compiled:
        case "whole":
            yield model
        case "blocks":
            yield from (part for part in model.modules() if isinstance(part, Block))


@cache
def _kind(kind: type[nn.Module]) -> type[nn.Module]:
    fast = torch.compile(kind.forward, dynamic=issubclass(kind, Block))

    @wraps(kind.forward)
    def forward(self, *args, **given):
        return fast(self, *args, **given)

    return type(kind.__name__, (kind,), {"forward": forward, "as_written": kind, "__module__": kind.__module__})
