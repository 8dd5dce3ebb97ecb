"""The device that this process computes on."""

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
