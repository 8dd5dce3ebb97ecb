"""Hints (FitNets, Romero et al. 2015, arXiv 1412.6550): a layer in the student's middle learns to predict one in the
teacher's middle, through a regressor that is dropped after training.

The paper trains up to the hint first and distils afterwards; here both terms are minimised together, so that one number
of steps is compared with the other methods. Features are states [B, L, d] or maps [B, C, H, W].
"""

from collections.abc import Sequence

from torch import Tensor

from baselines.methods.layer_map import Pairs
from baselines.methods.selective import Projections, feature_loss


def middle_pair(n_teacher: int, n_student: int) -> Pairs:
    """((student layer, teacher layer),): the middle layer of each, the earlier of two (section 2.2)."""
    return (((n_student + 1) // 2, (n_teacher + 1) // 2),)


def hint_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    regressors: Projections,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the regressed student features (equation 3), over the teacher's width and the positions
    that `attention_mask` [B, L] keeps; the paper's ½ ‖·‖² grows with the map, so its weight would too.

    A regressor is linear, a 1×1 convolution for maps, as the paper's is; the ReLU that a widely used benchmark puts
    after it keeps it from any negative value. Of two maps of different size the larger is average-pooled.
    """
    return feature_loss(student_features, teacher_features, regressors, attention_mask, norm="none")
