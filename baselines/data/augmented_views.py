"""Views of an image: shifted and mirrored, each under a number, so that a teacher's answer to it can be kept.

View 0 is the image as it is. The others were drawn once, for all images: a shift by up to an eighth of the side in each
direction, what is left behind black (He et al. 2016, section 4.2), and a mirror for half of them where a mirrored image
still shows its class.
"""

from functools import cache

import numpy as np
import torch
from torch.nn.functional import pad


def count(task: dict) -> int:
    """How many views each row of a task has."""
    return task.get("views", 1)


@cache
def drawn(views: int, most: int, mirror: bool, device: torch.device | str = "cpu") -> torch.Tensor:
    """[V, 3] (down, right, mirrored) in pixels and 0 or 1, all different, that of the image as it is first. Raises
    ValueError where there are fewer."""
    shifts = range(-most, most + 1)
    every = [(down, right, flip) for down in shifts for right in shifts for flip in range(1 + mirror)]
    every.remove((0, 0, 0))
    if views > len(every) + 1:
        raise ValueError(f"an image shifted by at most {most} pixels has {len(every) + 1} views, not {views}")
    order = np.random.default_rng(0).permutation(len(every))[: views - 1]
    return torch.tensor([(0, 0, 0), *(every[place] for place in order)], device=device)


def shown(pixels: torch.Tensor, views: torch.Tensor, task: dict) -> torch.Tensor:
    """Of uint8 pixels [B, H, W, C] each in the view of its number in views [B], both on one device."""
    height, width = pixels.shape[1:3]
    most = max(1, task["input_size"] // 8)
    down, right, mirrored = drawn(count(task), most, task["mirror"], pixels.device)[views][:, :, None].unbind(1)
    rows = torch.arange(height, device=pixels.device) + most - down
    columns = torch.arange(width, device=pixels.device)
    columns = torch.where(mirrored == 1, width - 1 - columns, columns) + most - right
    framed = pad(pixels, (0, 0, most, most, most, most))
    return framed[torch.arange(len(pixels), device=pixels.device)[:, None, None], rows[:, :, None], columns[:, None]]
