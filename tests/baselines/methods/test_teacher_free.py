"""A teacher written by hand: label smoothing at T = 1, and not the double softmax that was published."""

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.teacher_free import regularisation, virtual_logits
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def logits(rows=6, classes=5):
    return (3 * torch.randn(rows, classes)).requires_grad_()


def test_the_virtual_teacher_is_right_and_never_certain():
    probabilities = virtual_logits(LABELS, 5, 0.9).softmax(-1)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(6))
    assert torch.equal(probabilities.argmax(-1), LABELS)
    torch.testing.assert_close(probabilities[0], torch.tensor([0.9, 0.025, 0.025, 0.025, 0.025]))


@pytest.mark.parametrize("correct", [0.2, 1.0, 0.1, float("nan")])
def test_a_teacher_that_would_be_wrong_or_certain_is_refused(correct):
    with pytest.raises(ValueError, match="correct must lie between 1/5 and 1"):
        virtual_logits(LABELS, 5, correct)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_loss_and_gradient_vanish_at_the_virtual_teacher(temperature):
    student = virtual_logits(LABELS, 5, 0.9).requires_grad_()
    loss = regularisation(student, LABELS, temperature, 0.9)
    assert loss.abs() < 1e-5 * temperature**2
    assert torch.autograd.grad(loss, student)[0].abs().max() < 1e-5 * temperature
    assert regularisation(logits(), LABELS, temperature, 0.9) > 0.1


def test_at_temperature_1_it_is_label_smoothing():
    student, smoothing = logits(), (1 - 0.9) * 5 / 4  # torch spreads epsilon over all classes, the label included
    expected = F.cross_entropy(student, LABELS, label_smoothing=smoothing)
    ours = regularisation(student, LABELS, 1.0, 0.9)
    for other in (ours, expected):
        assert torch.autograd.grad(other, student, retain_graph=True)[0].norm() > 0.1
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_the_published_code_teaches_an_almost_uniform_distribution():
    student, temperature = logits(), 20.0
    probabilities = virtual_logits(LABELS, 5, 0.99).softmax(-1)
    published_target = (probabilities / temperature).softmax(-1)  # a softmax of probabilities
    target = (virtual_logits(LABELS, 5, 0.99) / temperature).softmax(-1)
    assert published_target.max() < 0.21 < 0.24 < target.max(-1).values.min()
    unsoftened = student.log_softmax(-1)
    published = F.kl_div(unsoftened, published_target, reduction="sum") / 30  # a mean over B · C
    assert (regularisation(student, LABELS, temperature, 0.99) - published).abs() > 0.1


def test_squared_temperature_keeps_the_gradient_size():
    student = torch.randn(64, 10, requires_grad=True)
    labels = torch.arange(64) % 10
    norms = [torch.autograd.grad(regularisation(student, labels, t, 0.9), student)[0].norm() for t in (4, 20, 1000)]
    assert max(norms) / min(norms) < 2


def test_rows_without_a_label_add_nothing_but_count_as_rows():
    student, labels = logits(), LABELS.clone()
    labels[3:] = -100
    loss = regularisation(student, labels, 4.0, 0.9)
    torch.testing.assert_close(loss, regularisation(student[:3], labels[:3], 4.0, 0.9) / 2)
    assert torch.autograd.grad(loss, student)[0][3:].abs().max() == 0
    assert regularisation(student, torch.full((6,), -100), 4.0, 0.9) == 0


def test_a_constant_per_row_and_the_order_of_rows_change_nothing():
    student = logits()
    loss, order = regularisation(student, LABELS, 4.0, 0.9), torch.randperm(6)
    torch.testing.assert_close(regularisation(student + torch.arange(6.0)[:, None], LABELS, 4.0, 0.9), loss)
    torch.testing.assert_close(regularisation(student[order], LABELS[order], 4.0, 0.9), loss)


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda z: regularisation(z, LABELS, 4.0, 0.9), logits())


def test_gradient_equals_finite_differences():
    labels = torch.tensor([0, -100, 2])
    assert gradient_error(lambda z: regularisation(z, labels, 4.0, 0.9), logits(3, 3)) < 1e-5
