"""The weights of a model as one hash, and their number."""

import hashlib
from collections.abc import Collection

from torch import nn


def parameters(model: nn.Module) -> int:
    """How many numbers its parameters are made of; buffers are left out."""
    return sum(parameter.numel() for parameter in model.parameters())


def fingerprint(model: nn.Module, names: Collection[str] | None = None) -> str:
    """SHA-256 over names, shapes and bytes of every weight and buffer, or of those named."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if names is not None and name not in names:
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
