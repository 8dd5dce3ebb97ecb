"""Decoupled distillation: vanilla distillation taken apart, and finite where the published code is not."""

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.dkd import decoupled
from baselines.methods.kd import distillation
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def logits(rows=6, classes=5, scale=3.0):
    student, teacher = scale * torch.randn(2, rows, classes)
    return student.requires_grad_(), teacher


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def total(student, teacher, labels=LABELS, temperature=3.0, beta=8.0):
    target, others = decoupled(student, teacher, labels, temperature)
    return target + beta * others


def test_both_terms_and_their_gradients_vanish_at_the_teacher():
    student, _ = logits()
    target, others = decoupled(student, student.detach(), LABELS, 3.0)
    assert max(target.abs(), others.abs()) < 1e-5
    assert torch.autograd.grad(target + others, student)[0].abs().max() < 1e-6
    assert min(decoupled(*logits(), LABELS, 3.0)) > 1e-2


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_terms_add_up_to_vanilla_distillation_as_in_equation_7(temperature):
    student, teacher = logits()
    rows = [slice(n, n + 1) for n in range(6)]
    sure = (teacher / temperature).softmax(-1).gather(1, LABELS[:, None])[:, 0]
    added = 0
    for row, p in zip(rows, sure, strict=True):
        target, others = decoupled(student[row], teacher[row], LABELS[row], temperature)
        added += (target + (1 - p) * others) / 6
    torch.testing.assert_close(added, distillation(student, teacher, temperature))


def test_two_classes_leave_nothing_to_the_others():
    student, teacher = logits(classes=2)
    labels = LABELS % 2
    target, others = decoupled(student, teacher, labels, 3.0)
    assert others == 0
    torch.testing.assert_close(target, distillation(student, teacher, 3.0))


def test_a_constant_per_row_changes_nothing():
    student, teacher = logits()
    shift = torch.arange(6.0)[:, None]
    torch.testing.assert_close(total(student + shift, teacher - shift), total(student, teacher))


def test_squared_temperature_keeps_the_gradient_size():
    student, teacher = logits(rows=64, classes=10, scale=1.0)
    labels = torch.arange(64) % 10
    norms = [
        torch.autograd.grad(total(student, teacher, labels, t), student)[0].norm().item() for t in (1, 4, 100, 1000)
    ]
    assert max(norms) / min(norms) < 1.5


def test_rows_without_a_label_add_nothing_but_count_as_rows():
    student, teacher = logits()
    labels = LABELS.clone()
    labels[3:] = -100
    loss = total(student, teacher, labels)
    torch.testing.assert_close(loss, total(student[:3], teacher[:3], labels[:3]) / 2)
    assert torch.autograd.grad(loss, student)[0][3:].abs().max() == 0
    assert total(student, teacher, torch.full((6,), -100)) == 0


def test_order_of_rows_and_of_classes_does_not_matter():
    student, teacher = logits()
    loss, order, classes = total(student, teacher), torch.randperm(6), torch.randperm(5)
    torch.testing.assert_close(total(student[order], teacher[order], LABELS[order]), loss)
    renamed = classes.argsort()[LABELS]
    torch.testing.assert_close(total(student[:, classes], teacher[:, classes], renamed), loss)


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(total, *logits())


def test_gradient_equals_finite_differences():
    student, teacher = logits(rows=4, classes=3)
    labels = torch.tensor([0, 1, -100, 2])
    assert gradient_error(lambda z: total(z, teacher.double(), labels), student) < 1e-5


def test_swapped_sides_and_mean_over_classes_give_other_values():
    student, teacher = logits()
    target, _ = decoupled(student, teacher, LABELS, 3.0)
    assert (target - decoupled(teacher, student, LABELS, 3.0)[0]).abs() > 1e-2
    two = [torch.stack([p := (z / 3).softmax(-1)[range(6), LABELS], 1 - p]) for z in (student, teacher)]
    by_hand = 9 * (two[1] * (two[1].log() - two[0].log())).sum() / 6
    torch.testing.assert_close(target, by_hand)
    assert (target - by_hand / 2).abs() > 1e-2  # what reduction="mean" makes of it


def test_a_certain_student_is_finite_where_log_of_softmax_is_not():
    student = torch.tensor([[300.0, 0.0, 0.0]], requires_grad=True)
    teacher, label = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0])
    published = F.softmax(student, -1)[:, 1:].sum(-1).log()
    assert published.isinf()
    loss = total(student, teacher, label, temperature=1.0)
    assert loss.isfinite() and torch.autograd.grad(loss, student)[0].isfinite().all()


def test_shapes_and_temperature_are_checked():
    with pytest.raises(ValueError, match="differ"):
        decoupled(torch.zeros(2, 3), torch.zeros(1, 3), torch.tensor([0, 1]), 3.0)
    with pytest.raises(ValueError, match="positive"):
        decoupled(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 1]), 0.0)
