"""DIST: a distance of correlations, with their invariances and without a T² that they would not need."""

import pytest
import torch

from baselines.methods.dist import pearson_distance, relations
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def logits(rows=8, classes=5, scale=2.0):
    student, teacher = scale * torch.randn(2, rows, classes)
    return student.requires_grad_(), teacher


def total(student, teacher, temperature=4.0):
    return sum(relations(student, teacher, temperature))


def test_both_distances_vanish_at_the_teacher():
    student, _ = logits()
    assert max(relations(student, student.detach(), 4.0)) < 1e-6
    assert min(relations(*logits(), 4.0)) > 0.1


def test_pearson_is_that_of_numpy_and_sees_neither_positive_scale_nor_shift():
    student, teacher = torch.randn(2, 3, 7)
    rho = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(student, teacher, strict=True)])
    distance = pearson_distance(student, teacher)
    torch.testing.assert_close(distance, 1 - rho)
    torch.testing.assert_close(pearson_distance(3 * student + 5, 0.1 * teacher - 2), distance)
    torch.testing.assert_close(pearson_distance(-teacher, teacher), torch.full((3,), 2.0))


def test_first_distance_runs_along_classes_and_second_along_rows():
    pair = logits()
    probabilities = [(z / 4).softmax(-1) for z in pair]
    rows, classes = relations(*pair, 4.0)
    torch.testing.assert_close(rows, pearson_distance(*probabilities).mean())
    torch.testing.assert_close(classes, pearson_distance(*(p.T for p in probabilities)).mean())
    assert (rows - classes).abs() > 1e-3  # a softmax or a mean over the wrong axis would swap or equal them


def test_a_constant_per_row_changes_nothing_and_order_neither():
    student, teacher = logits()
    loss, shift = total(student, teacher), torch.arange(8.0)[:, None]
    torch.testing.assert_close(total(student + shift, teacher - shift), loss, rtol=1e-4, atol=1e-5)
    order, classes = torch.randperm(8), torch.randperm(5)
    torch.testing.assert_close(total(student[order], teacher[order]), loss)
    torch.testing.assert_close(total(student[:, classes], teacher[:, classes]), loss)


def test_gradient_keeps_its_size_without_a_squared_temperature():
    student, teacher = logits(rows=32, classes=10, scale=1.0)
    norms = [torch.autograd.grad(total(student, teacher, t), student)[0].norm().item() for t in (1, 4, 20, 100)]
    assert max(norms) / min(norms) < 1.5
    with_square = [t**2 * norm for t, norm in zip((1, 4, 20, 100), norms, strict=True)]  # the published code
    assert with_square[-1] / with_square[0] > 5_000


def test_a_row_or_class_that_does_not_vary_counts_as_uncorrelated():
    student, teacher = logits(rows=1)
    rows, classes = relations(student, teacher, 4.0)
    assert rows < 2 and classes == 1  # one row: no class varies
    assert torch.autograd.grad(rows + classes, student)[0].isfinite().all()
    flat = torch.zeros(8, 5, requires_grad=True)
    loss = total(flat, logits()[1])
    assert loss == 2 and torch.autograd.grad(loss, flat)[0].abs().max() == 0  # 1e8 with a small constant instead
    noisy = torch.full((8, 3), 0.3, requires_grad=True)  # a third is not a float
    assert torch.autograd.grad(total(noisy, logits(classes=3)[1]), noisy)[0].abs().max() == 0


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(total, *logits())


def test_gradient_equals_finite_differences():
    student, teacher = logits(rows=4, classes=3)
    assert gradient_error(lambda z: total(z, teacher.double()), student) < 1e-5


def test_correlation_of_logits_is_not_that_of_probabilities():
    student, teacher = logits()
    assert (pearson_distance(student, teacher).mean() - relations(student, teacher, 1.0)[0]).abs() > 1e-2
    softened_twice = [z.softmax(-1) for z in (student, teacher)]
    assert (total(*softened_twice, 1.0) - total(student, teacher, 1.0)).abs() > 1e-2


def test_shapes_and_temperature_are_checked():
    with pytest.raises(ValueError, match="differ"):
        relations(torch.zeros(2, 3), torch.zeros(1, 3), 1.0)
    with pytest.raises(ValueError, match="positive"):
        relations(torch.zeros(2, 3), torch.zeros(2, 3), -1.0)
