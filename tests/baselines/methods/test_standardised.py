"""Standardised logits: neither the scale nor the shift of a row is left to match."""

import pytest
import torch

from baselines.methods.kd import distillation
from baselines.methods.standardised import standardise, standardised_distillation
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def logits(rows=6, classes=5, scale=3.0):
    student, teacher = scale * torch.randn(2, rows, classes)
    return student.requires_grad_(), teacher


def test_rows_have_mean_0_and_deviation_1_over_all_classes():
    z = standardise(logits()[0])
    torch.testing.assert_close(z.mean(dim=-1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(dim=-1, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert (z.std(dim=-1) - 1).min() > 0.1  # the published code divides by C − 1


def test_loss_and_gradient_vanish_at_the_teacher_and_at_any_positive_scale_of_it():
    student, _ = logits()
    factor, shift = torch.rand(6, 1) + 0.5, torch.randn(6, 1)
    loss = standardised_distillation(student, factor * student.detach() + shift, 2.0)
    assert loss.abs() < 1e-6 and torch.autograd.grad(loss, student)[0].abs().max() < 1e-4
    assert standardised_distillation(student, -student.detach(), 2.0) > 0.1
    assert distillation(student, factor * student.detach() + shift, 2.0) > 1e-3  # what vanilla distillation asks for


def test_gradient_moves_neither_scale_nor_shift_of_a_row():
    student, teacher = logits()
    gradient = torch.autograd.grad(standardised_distillation(student, teacher, 2.0), student)[0]
    assert gradient.norm() > 1e-3
    assert gradient.sum(-1).abs().max() < 1e-6 and (gradient * student).sum(-1).abs().max() < 1e-5


def test_it_is_vanilla_distillation_of_z_scores():
    student, teacher = logits()
    z = [(x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True) for x in (student, teacher)]
    loss = standardised_distillation(student, teacher, 2.0)
    torch.testing.assert_close(loss, distillation(*z, 2.0), rtol=1e-4, atol=1e-6)
    p, q = ((x / 2).softmax(-1) for x in reversed(z))
    by_hand = 4 * (p * (p.log() - q.log())).sum() / 6
    torch.testing.assert_close(loss, by_hand, rtol=1e-4, atol=1e-6)
    for mistake in (by_hand / 4, by_hand / 5, standardised_distillation(teacher, student, 2.0)):
        assert (loss - mistake).abs() > 1e-3  # no T², divided by C, sides swapped


def test_standardising_along_rows_gives_another_value():
    student, teacher = logits()
    along_rows = distillation(standardise(student.T).T, standardise(teacher.T).T, 2.0)
    assert (standardised_distillation(student, teacher, 2.0) - along_rows).abs() > 1e-2


def test_squared_temperature_keeps_the_gradient_size():
    student, teacher = logits(rows=64, classes=10)
    norms = [
        torch.autograd.grad(standardised_distillation(student, teacher, t), student)[0].norm().item()
        for t in (1, 4, 100, 1000)
    ]
    assert max(norms) / min(norms) < 1.5


def test_order_of_rows_and_of_classes_does_not_matter():
    student, teacher = logits()
    loss, order, classes = standardised_distillation(student, teacher, 2.0), torch.randperm(6), torch.randperm(5)
    for s, t in ((student[order], teacher[order]), (student[:, classes], teacher[:, classes])):
        torch.testing.assert_close(standardised_distillation(s, t, 2.0), loss)


def test_a_row_of_equal_logits_has_a_finite_gradient():
    student = torch.zeros(2, 5, requires_grad=True)
    loss = standardised_distillation(student, logits(rows=2)[1], 2.0)
    assert loss.isfinite() and torch.autograd.grad(loss, student)[0].isfinite().all()


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda s, t: standardised_distillation(s, t, 2.0), *logits())


def test_gradient_equals_finite_differences():
    student, teacher = logits(rows=4, classes=3)
    assert gradient_error(lambda z: standardised_distillation(z, teacher.double(), 2.0), student) < 1e-5


def test_shapes_and_temperature_are_checked():
    with pytest.raises(ValueError, match="differ"):
        standardised_distillation(torch.zeros(2, 3), torch.zeros(1, 3), 1.0)
    with pytest.raises(ValueError, match="positive"):
        standardised_distillation(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)
