"""Generations: who teaches whom, and what is left of the teacher when its likenesses or its answers are taken away."""

import pytest
import torch

from baselines.methods.born_again import confidence_weighted, ensemble, permuted, teacher_of
from baselines.methods.kd import cross_entropy
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def logits(rows=6, classes=5):
    student, teacher = 3 * torch.randn(2, rows, classes)
    return student.requires_grad_(), teacher


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_generation_learns_from_the_one_before_and_the_first_from_labels():
    assert [teacher_of(generation) for generation in range(4)] == [None, 0, 1, 2]
    with pytest.raises(ValueError, match="count from 0"):
        teacher_of(-1)


def test_an_ensemble_is_the_mean_of_probabilities_not_of_logits():
    first, second = logits()
    mixed = ensemble([first, second])
    torch.testing.assert_close(mixed.exp(), (first.softmax(-1) + second.softmax(-1)) / 2)
    assert (mixed.exp() - ((first + second) / 2).softmax(-1)).abs().max() > 0.05
    torch.testing.assert_close(ensemble([first.half()] * 3).exp(), first.half().float().softmax(-1))


def test_confidence_weights_are_the_teachers_largest_probabilities():
    student, teacher = logits()
    weights = teacher.softmax(-1).amax(-1)
    by_hand = -(weights / weights.sum() * student.log_softmax(-1)[range(6), LABELS]).sum()
    torch.testing.assert_close(confidence_weighted(student, teacher, LABELS), by_hand)
    probability_of_label = teacher.softmax(-1)[range(6), LABELS]  # the usual mistake: the label's, not the largest
    other = -(probability_of_label / probability_of_label.sum() * student.log_softmax(-1)[range(6), LABELS]).sum()
    assert (by_hand - other).abs() > 1e-2


def test_a_teacher_equally_sure_of_all_rows_leaves_plain_cross_entropy():
    student, _ = logits()
    labels = torch.tensor([0, -100, 2, 3, -100, 0])
    equally_sure = torch.eye(5)[[1, 2, 3, 4, 0, 0]]
    loss = confidence_weighted(student, equally_sure, labels)
    torch.testing.assert_close(loss, cross_entropy(student, labels))
    assert torch.autograd.grad(loss, student)[0][[1, 4]].abs().max() == 0
    assert confidence_weighted(student, equally_sure, torch.full((6,), -100)) == 0


def test_only_the_confidence_of_the_teacher_counts_and_no_order_of_rows():
    student, teacher = logits()
    loss, order = confidence_weighted(student, teacher, LABELS), torch.randperm(6)
    torch.testing.assert_close(confidence_weighted(student, teacher[:, torch.randperm(5)], LABELS), loss)
    torch.testing.assert_close(confidence_weighted(student[order], teacher[order], LABELS[order]), loss)


def test_permuted_keeps_the_largest_and_the_set_of_the_others():
    _, teacher = logits(rows=200)
    moved = permuted(teacher, drawn())
    top = teacher.argmax(-1)
    assert torch.equal(moved.argmax(-1), top)
    assert torch.equal(moved.gather(1, top[:, None]), teacher.gather(1, top[:, None]))
    assert torch.equal(moved.sort(-1).values, teacher.sort(-1).values)
    assert torch.equal(permuted(teacher, drawn()), moved) and not torch.equal(permuted(teacher, drawn(1)), moved)


def test_permuted_puts_each_other_class_everywhere_equally_often_row_by_row():
    teacher = torch.tensor([9.0, 0.0, 1.0, 2.0, 3.0]).repeat(4000, 1)
    moved = permuted(teacher, drawn())
    assert (moved[:, 0] == 9).all()
    for value in range(4):
        assert (moved[:, 1:] == value).float().mean(0).sub(0.25).abs().max() < 0.03


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda s, t: confidence_weighted(s, t, LABELS), *logits())


def test_gradient_equals_finite_differences():
    student, teacher = logits(3, 3)
    labels = torch.tensor([0, -100, 2])
    assert gradient_error(lambda z: confidence_weighted(z, teacher.double(), labels), student) < 1e-5
