"""A train.py as a module, and the weights of the model that it hands back."""

import importlib.util
from pathlib import Path
from types import ModuleType

from safetensors.torch import save_file
from torch import nn


def import_file(path: Path) -> ModuleType:
    """The file as a module of its own, which is not kept in sys.modules."""
    spec = importlib.util.spec_from_file_location("train", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(model: nn.Module, student: nn.Module, folder: Path) -> None:
    """Write the trained weights. Raises TypeError for another model, FloatingPointError for one that diverged."""
    if type(model) is not type(student):
        raise TypeError(f"train(experiment) returned {type(model).__name__}, not the trained {type(student).__name__}")
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if bad := [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise FloatingPointError(f"training diverged: NaN or infinite values in {bad[0]}")
    save_file(state, folder / "weights.safetensors")
