"""Patient distillation (PKD, Sun et al. 2019, arXiv 1908.09355): the first token's state, layer by layer.

Features are states [B, L, d], one per pair of layers. Only the first token is compared, so the two models may have
tokenizers of their own.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from baselines.errors import BaselineError
from baselines.methods.layer_map import Pairs, layer_pairs
from baselines.methods.selective import Projections, cls_loss


def patient_pairs(strategy: Literal["skip", "last"], n_teacher: int, n_student: int) -> Pairs:
    """(student layer, teacher layer) for every student layer but the final one, which learns from the logits.

    PKD-skip spreads over the teacher, PKD-last takes its last layers: {2, 4, 6, 8, 10} and {7, 8, 9, 10, 11} of 12 for
    a student of 6 (section 3.2). Raises BaselineError for a student of one layer, ValueError as `layer_pairs` does.
    """
    if n_student < 2:
        hint = "use kd, or kd_selective with signal cls"
        raise BaselineError("a student of one layer has none before its final one", hint)
    return layer_pairs(strategy, n_teacher, n_student, n_student)[:-1]


def patient_loss(
    student_features: Sequence[Tensor], teacher_features: Sequence[Tensor], projections: Projections | None = None
) -> Tensor:
    """Σ over pairs ‖h_s/‖h_s‖ − h_t/‖h_t‖‖², averaged over examples (section 3.2).

    The published code takes the mean over pairs and over the d entries too, d · pairs times less: its β between 1 and
    1000 are weights of that mean. Widths that differ meet through `projections`, which the paper does not need.
    """
    return len(student_features) * cls_loss(student_features, teacher_features, projections)
