"""Assistants: the chain, who stands in the middle of it, and learning from all who stand above."""

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.assistant import best_assistant, chain, densely_guided
from baselines.methods.kd import distillation
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error


def logits(rows=6, classes=5, models=4):
    return 3 * torch.randn(models, rows, classes)


def test_each_model_of_a_chain_teaches_the_next():
    assert chain([100, 60, 30, 10]) == ((0, 1), (1, 2), (2, 3))


def test_a_chain_needs_an_assistant_and_shrinks():
    with pytest.raises(BaselineError, match="leave no assistant"):
        chain([100, 10])
    for sizes in ([100, 100, 10], [100, 10, 60]):
        with pytest.raises(BaselineError, match="of the chain has") as error:
            chain(sizes)
        assert "each smaller" in error.value.hint


def test_the_best_assistant_stands_in_the_middle_of_the_accuracies():
    assert best_assistant([0.91, 0.85, 0.79], teacher=0.94, student=0.74) == 1
    assert best_assistant([0.9, 0.8], teacher=0.9, student=0.8) == 0  # equally close: the first
    with pytest.raises(ValueError):
        best_assistant([], teacher=0.9, student=0.8)


def test_dense_guidance_is_the_sum_of_what_each_model_above_says():
    student, *above = logits()
    expected = sum(distillation(student, one, 3.0) for one in above)
    torch.testing.assert_close(densely_guided(student, above, 3.0), expected)
    torch.testing.assert_close(
        densely_guided(student, above, 3.0, [True, False, True]), expected - distillation(student, above[1], 3.0)
    )
    averaged = distillation(student, torch.stack(above).mean(0), 3.0)  # of averaged logits: another loss
    assert (averaged - expected).abs() > 0.1
    with pytest.raises(ValueError, match="keep the teacher at least"):
        densely_guided(student, above, 3.0, [False] * 3)


def test_loss_vanishes_where_all_agree_and_keeps_its_gradient_when_softened():
    student = logits(models=1)[0].requires_grad_()
    assert densely_guided(student, [student.detach()] * 3, 3.0).abs() < 1e-5
    above = logits(rows=6, models=2).div(3)
    norms = [torch.autograd.grad(densely_guided(student, above, t), student)[0].norm().item() for t in (4, 100, 1000)]
    assert max(norms) / min(norms) < 2  # with T² in each term


def test_order_of_rows_and_of_models_does_not_matter():
    student, *above = logits()
    loss, order = densely_guided(student, above, 3.0), torch.randperm(6)
    torch.testing.assert_close(densely_guided(student[order], [one[order] for one in above], 3.0), loss)
    torch.testing.assert_close(densely_guided(student, above[::-1], 3.0), loss)


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda *z: densely_guided(z[0], z[1:], 3.0), *logits())


def test_gradient_equals_finite_differences():
    student, *above = logits(2, 3)
    assert gradient_error(lambda z: densely_guided(z, [one.double() for one in above], 3.0), student) < 1e-5
