"""Handwritten digits (scikit-learn's 1,797 images of 8×8 pixels) and small networks that learn them in seconds."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images [N, 1, 8, 8] in 0..1 and labels, for training (1,000 rows) and testing (797), shuffled by seed."""
    raw = load_digits()
    order = torch.randperm(len(raw.target), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(raw.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(raw.target)[order]
    return images[:1000], labels[:1000], images[1000:], labels[1000:]


def cnn(seed: int, width: int = 16, classes: int = 10) -> nn.Module:
    """Two convolutions and a linear layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * width, classes),
    )  # fmt: skip


def mlp(seed: int, width: int, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))


def fit(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    steps: int,
    seed: int,
    rate: float = 5e-3,
    batch: int = 64,
) -> nn.Module:
    """Adam on random batches; `loss` takes the indices of a batch's rows."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(rows, (min(batch, rows),), generator=generator)
        optimizer.zero_grad()
        loss(chosen).backward()
        optimizer.step()
    return model.eval()


def fit_labels(model: nn.Module, images: Tensor, labels: Tensor, steps: int, seed: int) -> nn.Module:
    """With the labels alone."""
    return fit(model, lambda i: F.cross_entropy(model(images[i]), labels[i]), len(labels), steps, seed)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (model(images).argmax(dim=1) == labels).double().mean().item()
