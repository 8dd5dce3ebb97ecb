"""One vector per example, out of what the last layer gives: what relations between examples are measured on."""

from torch import Tensor

from baselines.methods.kd import fp32
from baselines.methods.layer_map import Pairs


def last_pair(n_teacher: int, n_student: int) -> Pairs:
    """((student layer, teacher layer),): the last of each."""
    return ((n_student, n_teacher),)


def embedding(features: Tensor) -> Tensor:
    """[B, d] in fp32: the first token of states [B, L, d], the spatial mean of maps [B, d, H, W]."""
    return fp32(features[:, 0] if features.dim() == 3 else features.mean(dim=(2, 3)))
