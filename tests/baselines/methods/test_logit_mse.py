"""Logits by squared error: its value, what it ignores, and the finished train.py."""

import pytest
import torch

from baselines.methods.kd import distillation
from baselines.methods.logit_mse import squared_error
from tests.baselines.lab import STEPS, Lab, sha256, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained

SETTINGS = {"alpha": 0.5, "centred": True}
BOTH_WAYS = pytest.mark.parametrize("centred", [True, False])


def logits(rows=6, classes=5, scale=2.0):
    student, teacher = scale * torch.randn(2, rows, classes)
    return student.requires_grad_(), teacher


@BOTH_WAYS
def test_it_is_the_mean_over_rows_and_classes_and_vanishes_at_the_teacher(centred):
    student, teacher = logits()
    if not centred:
        torch.testing.assert_close(squared_error(student, teacher, centred), ((student - teacher) ** 2).sum() / 30)
    assert squared_error(teacher, teacher, centred) == 0
    doubled = [torch.cat([z, z]) for z in (student, teacher)]
    torch.testing.assert_close(squared_error(*doubled, centred), squared_error(student, teacher, centred))


def test_centred_it_ignores_a_constant_per_row_as_a_softmax_does_and_else_it_does_not():
    student, teacher = logits()
    shift = torch.arange(6.0)[:, None]
    torch.testing.assert_close(
        squared_error(student + shift, teacher - shift, True), squared_error(student, teacher, True)
    )
    torch.testing.assert_close(squared_error(teacher + shift, teacher, False), shift.square().mean())
    assert squared_error(teacher + shift, teacher, True) < 1e-10


def test_centred_it_is_the_limit_of_vanilla_distillation_at_high_temperatures():
    student, teacher = (z.double() for z in logits())
    limit = 2 * distillation(student, teacher, 1e4)
    torch.testing.assert_close(limit, squared_error(student, teacher, True), rtol=1e-3, atol=0)


@BOTH_WAYS
def test_gradient_and_half_precision(centred):
    student, teacher = logits()
    assert gradient_error(lambda z: squared_error(z, teacher.double(), centred), student) < 1e-6
    assert_half_is_computed_in_fp32(lambda s, t: squared_error(s, t, centred), *logits())
    squared_error(student, teacher, centred).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused():
    student, teacher = logits()
    with pytest.raises(ValueError, match=r"student logits \[6, 5\] and teacher logits \[6, 4\] differ"):
        squared_error(student, teacher[:, :4], True)
    with pytest.raises(ValueError, match="one column is a score"):
        squared_error(student[:, :1], teacher[:, :1], True)
    assert squared_error(student[:, :1], teacher[:, :1], False) > 0


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory) -> Lab:
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_finished_file_minimises_both_terms_and_reads_its_settings(lab, tmp_path):
    folder = trained(lab, "logit_mse", SETTINGS, tmp_path / "centred")
    assert_logged(folder, lambda terms: 0.5 * terms["task"] + 0.5 * terms["distillation"], {"task", "distillation"})
    [end] = trace(folder, "end")
    assert set(end["reads"]) == set(SETTINGS) and end["gradients"]["logits"]["reached"] == STEPS
    raw = trained(lab, "logit_mse", SETTINGS | {"centred": False}, tmp_path / "raw")
    assert sha256(raw / "weights.safetensors") != sha256(folder / "weights.safetensors")
    other = trained(lab, "logit_mse", SETTINGS, tmp_path / "ablated", ablate="logits")
    assert sha256(other / "weights.safetensors") != sha256(folder / "weights.safetensors")
