"""Attention transfer: where a map is active, and which maps say nothing of it."""

import pytest
import torch
import torch.nn.functional as F

from baselines.errors import BaselineError
from baselines.methods.attention import attention_map, attention_transfer
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def maps(*shapes, rows=3):
    return [torch.randn(rows, *shape) for shape in shapes]


def test_loss_is_zero_at_the_teacher_and_not_elsewhere():
    pictures = maps((4, 3, 3), (6, 2, 2))
    assert attention_transfer(pictures, pictures) == 0
    assert attention_transfer(pictures, maps((4, 3, 3), (6, 2, 2))) > 1e-3


def test_loss_is_the_formula_and_has_a_gradient():
    student, teacher = torch.randn(3, 4, 4, 4, requires_grad=True), torch.randn(3, 6, 2, 2)
    sides = F.avg_pool2d(student, 2), teacher
    ours, theirs = (side.pow(2).mean(1).flatten(1) for side in sides)
    expected = (ours / ours.norm(dim=1, keepdim=True) - theirs / theirs.norm(dim=1, keepdim=True)).pow(2).mean()
    loss = attention_transfer([student], [teacher])
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss, student)[0].abs().sum() > 0


def test_scale_sign_and_order_of_channels_do_not_matter_but_places_do():
    student, teacher = maps((4, 3, 3), (4, 3, 3))
    loss = attention_transfer([student], [teacher])
    for other in (5 * student, -student, student[:, torch.randperm(4)]):
        torch.testing.assert_close(attention_transfer([other], [teacher]), loss)
    assert (attention_transfer([student.flip(-1)], [teacher]) - loss).abs() > 1e-4


def test_order_of_rows_does_not_matter_and_pairs_are_averaged():
    student, teacher = maps((4, 3, 3), (2, 2, 2)), maps((4, 3, 3), (2, 2, 2))
    loss, order = attention_transfer(student, teacher), torch.tensor([2, 0, 1])
    torch.testing.assert_close(attention_transfer([s[order] for s in student], [t[order] for t in teacher]), loss)
    apart = [attention_transfer([s], [t]) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(loss, sum(apart) / 2)


def test_length_is_taken_over_places_not_over_rows():
    student, teacher = maps((4, 3, 3), (4, 3, 3))
    torch.testing.assert_close(attention_map(student).norm(dim=1), torch.ones(3))
    over_rows = [F.normalize(x.square().mean(1).flatten(1), dim=0) for x in (student, teacher)]
    assert (attention_transfer([student], [teacher]) - F.mse_loss(*over_rows)).abs() > 1e-3


def test_sel_07_one_pixel_maps_are_refused_with_what_to_do_instead():
    with pytest.raises(BaselineError, match=r"2×2 and more, got \[3, 8, 1, 1\]") as error:
        attention_transfer(maps((8, 2, 2), (8, 1, 1)), maps((8, 2, 2), (8, 2, 2)))
    assert 'stem "cifar"' in error.value.hint and "hidden signal" in error.value.hint
    pixel = torch.randn(3, 8, 1, 1, requires_grad=True)
    energy = attention_map(pixel)  # what the loss would be made of
    assert torch.equal(energy, torch.ones(3, 1))
    assert torch.autograd.grad((energy - 0.5).square().sum(), pixel)[0].abs().max() == 0


def test_states_are_refused_with_a_method_for_text():
    states = [torch.randn(3, 5, 8)]
    with pytest.raises(BaselineError, match=r"compares maps .* not \[3, 5, 8\]") as error:
        attention_transfer(states, states)
    assert "tinybert" in error.value.hint


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda s, t: attention_transfer([s], [t]), *maps((4, 4, 4), (6, 2, 2)))


def test_gradient_equals_finite_differences():
    student, teacher = maps((2, 4, 4), (3, 2, 2), rows=2)
    assert gradient_error(lambda x: attention_transfer([x], [teacher.double()]), student) < 1e-5
