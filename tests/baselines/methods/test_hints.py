"""Hints: the middle layers, and a regressor that can say anything a linear map can."""

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.hints import hint_loss, middle_pair
from baselines.methods.selective import Projections
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def regressors(student, teacher, spatial=False):
    return Projections((student,), (teacher,), spatial)


@pytest.mark.parametrize(
    ("depths", "pair"), [((12, 6), (3, 6)), ((12, 12), (6, 6)), ((4, 4), (2, 2)), ((3, 3), (2, 2)), ((2, 1), (1, 1))]
)
def test_the_middle_of_each_model_is_paired(depths, pair):
    assert middle_pair(*depths) == (pair,)


def test_loss_is_zero_at_the_teacher():
    states, maps = [torch.randn(3, 5, 8)], [torch.randn(3, 4, 3, 3)]
    assert hint_loss(states, states, regressors(8, 8)) == 0
    assert hint_loss(maps, maps, regressors(4, 4, spatial=True)) == 0
    assert hint_loss(states, [torch.randn(3, 5, 8)], regressors(8, 8)) > 0.1


def test_it_is_the_mean_squared_error_of_what_the_regressor_says():
    student, teacher, regressor = torch.randn(3, 4, 6, 6), torch.randn(3, 8, 3, 3), regressors(4, 8, spatial=True)
    said = F.conv2d(F.avg_pool2d(student, 2), regressor.maps[0].weight, regressor.maps[0].bias)
    torch.testing.assert_close(hint_loss([student], [teacher], regressor), F.mse_loss(said, teacher))
    torch.testing.assert_close(
        hint_loss([2 * student], [2 * teacher], regressor), 4 * hint_loss([student], [teacher], regressor)
    )  # scale counts: it is no cosine and no layer norm


def test_a_regressor_reaches_negative_values_which_a_relu_after_it_would_not():
    student, regressor = torch.randn(64, 1, 4), regressors(4, 2)
    teacher = [student @ torch.randn(4, 2) - 1]
    optimizer = torch.optim.LBFGS(regressor.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = hint_loss([student], teacher, regressor)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert hint_loss([student], teacher, regressor) < 1e-4
    assert F.mse_loss(regressor([student])[0].relu(), teacher[0]) > 0.1


def test_padding_and_order_of_rows_do_not_matter():
    student, teacher, regressor = torch.randn(3, 5, 4), torch.randn(3, 5, 8), regressors(4, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    loss, order = hint_loss([student], [teacher], regressor, mask), torch.tensor([2, 0, 1])
    torch.testing.assert_close(hint_loss([student[order]], [teacher[order]], regressor, mask[order]), loss)
    other = torch.where(mask[..., None] == 1, student, 9.0)
    torch.testing.assert_close(hint_loss([other], [teacher], regressor, mask), loss)
    assert (hint_loss([other], [teacher], regressor) - loss).abs() > 0.1


def test_half_precision_is_computed_in_fp32():
    regressor = regressors(4, 8)
    assert_half_is_computed_in_fp32(
        lambda s, t: hint_loss([s], [t], regressor), torch.randn(3, 5, 4), torch.randn(3, 5, 8)
    )


def test_gradient_equals_finite_differences():
    regressor, teacher = regressors(3, 4).double(), torch.randn(2, 3, 4).double()
    assert gradient_error(lambda x: hint_loss([x], [teacher], regressor), torch.randn(2, 3, 3)) < 1e-5
