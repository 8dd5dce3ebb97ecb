"""Patient distillation: the paper's layer tables, and a sum over layers of directions."""

import pytest
import torch
import torch.nn.functional as F

from baselines.errors import BaselineError
from baselines.methods.pkd import patient_loss, patient_pairs
from baselines.methods.selective import Projections
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def states(*widths, rows=3, tokens=5):
    return [torch.randn(rows, tokens, width) for width in widths]


@pytest.mark.parametrize(
    ("strategy", "depths", "teachers"),
    [
        ("skip", (12, 6), [2, 4, 6, 8, 10]),
        ("last", (12, 6), [7, 8, 9, 10, 11]),
        ("skip", (12, 3), [4, 8]),
        ("last", (12, 3), [10, 11]),
        ("skip", (3, 3), [1, 2]),
    ],
)
def test_every_student_layer_but_the_final_one_has_a_teacher_layer(strategy, depths, teachers):
    pairs = patient_pairs(strategy, *depths)
    assert [teacher for _, teacher in pairs] == teachers
    assert [student for student, _ in pairs] == [*range(1, depths[1])]


def test_a_student_of_one_layer_is_refused_with_an_alternative():
    with pytest.raises(BaselineError, match="none before its final one") as error:
        patient_pairs("skip", 12, 1)
    assert "kd_selective with signal cls" in error.value.hint


def test_loss_is_zero_at_the_teacher_and_four_per_layer_at_its_opposite():
    student = states(8, 8)
    assert patient_loss(student, student) < 1e-12
    torch.testing.assert_close(patient_loss([-x for x in student], student), torch.tensor(8.0))


def test_it_is_the_sum_over_layers_of_the_squared_distance_of_directions():
    student, teacher = states(8, 8), states(8, 8)
    ends = [[F.normalize(x[:, 0], dim=-1) for x in side] for side in (student, teacher)]
    expected = sum((s - t).square().sum(-1).mean() for s, t in zip(*ends, strict=True))
    torch.testing.assert_close(patient_loss(student, teacher), expected)
    published = F.mse_loss(torch.stack(ends[0]), torch.stack(ends[1]))
    torch.testing.assert_close(8 * 2 * published, expected)  # d · pairs times less


def test_length_other_tokens_and_order_of_rows_do_not_matter():
    student, teacher = states(8, 8), states(8, 8)
    loss, order = patient_loss(student, teacher), torch.tensor([2, 0, 1])
    torch.testing.assert_close(patient_loss([5 * x for x in student], teacher), loss)
    others = [torch.cat([x[:, :1], torch.randn(3, 9, 8)], dim=1) for x in student]  # tokenised differently, too
    torch.testing.assert_close(patient_loss(others, teacher), loss)
    torch.testing.assert_close(patient_loss([x[order] for x in student], [x[order] for x in teacher]), loss)


def test_without_unit_length_the_loss_would_follow_the_scale():
    student, teacher = states(8), states(8)
    bare = [((f * student[0] - teacher[0])[:, 0]).square().sum(-1).mean() for f in (1, 5)]
    assert bare[1] > 5 * bare[0]
    torch.testing.assert_close(patient_loss([5 * student[0]], teacher), patient_loss(student, teacher))


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda s, t: patient_loss([s], [t]), *states(8, 8))
    projections = Projections((4,), (8,), spatial=False)
    assert_half_is_computed_in_fp32(lambda s, t: patient_loss([s], [t], projections), *states(4, 8))


def test_gradient_equals_finite_differences():
    student, teacher = states(4, 4, tokens=2)
    assert gradient_error(lambda x: patient_loss([x], [teacher.double()]), student) < 1e-5
