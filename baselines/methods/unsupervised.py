"""One vector per training row, made without a label and without a teacher: what an autoencoder keeps of an image, or
which words a text is made of."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.data.rows import Rows

EPOCHS, BATCH, RATE = 60, 64, 2e-3
MOST_STEPS = 4000  # of the autoencoder: 60 epochs of 4,267 images
WORDS = 100  # dimensions of a text's embedding at most


class Autoencoder(nn.Module):
    """Three convolutions 4×4 of stride 2 with 12, 24 and 48 channels, and their mirror image (ReffAKD, step 1).

    Takes images [B, channels, H, W] in 0..1, with sides that 8 divides; about 47,000 weights for three channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 12, 24, 48)
        steps = [*itertools.pairwise(widths)]
        down = [layer for a, b in steps for layer in (nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU())]
        up = [
            layer for a, b in reversed(steps) for layer in (nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.ReLU())
        ]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[:-1], nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


def embeddings(rows: Rows, chosen: Tensor) -> Tensor:
    """[len(chosen), d] of those rows; what it takes to make them is learned from all `rows`."""
    if rows.kind == "text":
        return words([np.asarray(item) for item in rows.items], chosen)
    images = _images(rows)
    model = reconstructing(images)
    with torch.no_grad():
        return model.encoder(images[chosen]).flatten(1)


def _images(rows: Rows) -> Tensor:
    """[N, C, H, W] in 0..1 (a sigmoid can give nothing else), as they are stored: no augmentation; sides rounded up to
    multiples of 8."""
    images = torch.from_numpy(np.stack(rows.items)).permute(0, 3, 1, 2).float() / 255
    sides = [-(-side // 8) * 8 for side in images.shape[2:]]
    return images if sides == [*images.shape[2:]] else F.interpolate(images, sides, mode="bilinear")


def reconstructing(images: Tensor) -> Autoencoder:
    """An autoencoder trained on these images by Adam for 60 epochs, or MOST_STEPS where those are more."""
    model = Autoencoder(images.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(min(MOST_STEPS, EPOCHS * math.ceil(len(images) / BATCH))):
        batch = images[torch.randint(len(images), (min(BATCH, len(images)),))]
        optimizer.zero_grad()
        F.mse_loss(model(batch), batch).backward()
        optimizer.step()
    return model.eval()


def words(texts: list[np.ndarray], chosen: Tensor) -> Tensor:
    """TF-IDF of the chosen texts' token ids, on its strongest axes (latent semantic analysis): U·Σ of a singular value
    decomposition. A token's weight is log(N / texts that contain it), so one in all of them counts nothing."""
    rarity = _rarity(texts)
    mine = [texts[place] for place in chosen.tolist()]
    tokens, columns = np.unique(np.concatenate(mine), return_inverse=True)
    rows = np.repeat(np.arange(len(mine)), [len(text) for text in mine])
    counts = np.bincount(rows * len(tokens) + columns, minlength=len(mine) * len(tokens)).reshape(len(mine), -1)
    weighted = torch.from_numpy(counts * rarity[tokens])
    values, axes = torch.linalg.eigh(weighted @ weighted.T)  # [n, n] is small: the vocabulary is not
    return (axes * values.clamp_min(0).sqrt())[:, -WORDS:].float()


def _rarity(texts: list[np.ndarray]) -> np.ndarray:
    """log(N / texts that contain it) of each token id."""
    held = np.bincount(np.concatenate([np.unique(text) for text in texts]))
    return np.log(len(texts) / np.maximum(held, 1))
