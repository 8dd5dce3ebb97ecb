"""Label revision: the label leads where it did not, by exactly 1 − η, and nothing else changes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.lr_ds import is_wrong, regression, revised, selected_distillation
from tests.baselines.lab import STEPS, sha256, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained

SETTINGS = {"revision": 0.8, "revise": "wrong", "keep_ratio": 0.7, "selector": "influence", "ridge": 1e-2}
SETTINGS |= {"temperature": 3.0, "alpha": 0.5}
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
SOME = settings(max_examples=40, deadline=None)
ETAS = st.floats(0.01, 0.99)


def logits(seed=0, scale=3.0, rows=6, classes=5):
    student, teacher = scale * torch.randn(2, rows, classes, generator=torch.Generator().manual_seed(seed))
    return student.requires_grad_(), teacher


def margins(answers, labels):
    """By how much the label's probability leads the largest other."""
    p = answers.double().softmax(dim=-1)
    own = p.gather(1, labels[:, None])[:, 0]
    return own - p.scatter(1, labels[:, None], -1.0).amax(dim=-1)


@SOME
@given(st.integers(0, 2**31), ETAS, st.sampled_from([0.1, 3.0, 30.0, 300.0]), st.sampled_from(["wrong", "all"]))
def test_revised_answers_are_distributions_with_the_label_on_top(seed, eta, scale, apply):
    """LD-1 and LD-2, also of a teacher that is certain of another class."""
    _, teacher = logits(seed, scale)
    found = revised(teacher, LABELS, eta, apply).softmax(dim=-1)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(6))
    assert torch.equal(found.argmax(dim=-1), LABELS)


@SOME
@given(st.integers(0, 2**31), ETAS)
def test_a_revised_label_leads_by_one_minus_eta_whatever_the_teacher_said(seed, eta):
    """LD-3."""
    _, teacher = logits(seed)
    found = margins(revised(teacher.double(), LABELS, eta), LABELS)[is_wrong(teacher, LABELS)]
    torch.testing.assert_close(found, torch.full_like(found, 1 - eta))


def test_a_small_eta_leaves_the_label_alone_and_one_leaves_a_tie():
    """LD-4."""
    _, teacher = logits()
    wrong = is_wrong(teacher, LABELS)
    assert wrong.any() and not wrong.all()
    assert revised(teacher, LABELS, 1e-6).softmax(dim=-1)[wrong].amax(dim=-1).min() > 1 - 1e-5
    torch.testing.assert_close(
        margins(revised(teacher.double(), LABELS, 1 - 1e-9), LABELS)[wrong],
        torch.zeros(int(wrong.sum()), dtype=torch.float64),
        atol=1e-8,
        rtol=0,
    )
    for eta in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="eta must lie between 0 and 1"):
            revised(teacher, LABELS, eta)


def test_the_other_classes_keep_their_ratios():
    """LD-5."""
    _, teacher = logits()
    others = ~F.one_hot(LABELS, 5).bool()
    before, after = (side.log_softmax(-1)[others].view(6, 4) for side in (teacher, revised(teacher, LABELS, 0.8)))
    torch.testing.assert_close(after - after[:, :1], before - before[:, :1])


def test_answers_that_are_right_or_have_no_label_stay_to_the_bit():
    """LD-6, and the edge: a row without a label is treated as right."""
    _, teacher = logits()
    labels = torch.where(torch.arange(6) < 2, -100, LABELS)
    wrong, found = is_wrong(teacher, labels), revised(teacher, labels, 0.8)
    assert torch.equal(found[~wrong], teacher[~wrong]) and not torch.equal(found, teacher)
    assert not wrong[:2].any() and torch.equal(revised(teacher, labels, 0.8, "all")[:2], teacher[:2])
    assert not torch.equal(revised(teacher, labels, 0.8, "all")[~wrong][2:], teacher[~wrong][2:])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_with_every_row_kept_and_a_perfect_teacher_it_is_vanilla_distillation(temperature):
    """LD-7."""
    student, teacher = logits()
    labels, everything = teacher.argmax(dim=-1), torch.ones(6, dtype=torch.bool)
    soft, rest = selected_distillation(student, revised(teacher, labels, 0.8), labels, everything, temperature)
    assert torch.equal(soft, distillation(student, teacher, temperature)) and rest == 0


def test_softening_a_revised_answer_takes_its_root_and_keeps_the_order():
    """§8.3: p̂^T ∝ p̂^(1/T)."""
    student, teacher = logits()
    answers = revised(teacher, LABELS, 0.8)
    root = answers.softmax(dim=-1) ** (1 / 4)
    by_hand = 16 * F.kl_div((student / 4).log_softmax(-1), root / root.sum(-1, keepdim=True), reduction="batchmean")
    torch.testing.assert_close(distillation(student, answers, 4.0), by_hand)


def test_rows_that_are_not_kept_learn_from_their_labels_alone():
    student, teacher = logits()
    kept = torch.tensor([1, 0, 1, 0, 0, 1]).bool()
    soft, rest = selected_distillation(student, teacher, LABELS, kept, 3.0)
    torch.testing.assert_close(soft, distillation(student[kept], teacher[kept], 3.0) / 2)
    torch.testing.assert_close(rest, cross_entropy(student[~kept], LABELS[~kept]) / 2)
    whole = 0.5 * cross_entropy(student, LABELS) + 0.5 * (soft + rest)
    row = torch.autograd.grad(whole, student)[0][1]
    alone = torch.autograd.grad(cross_entropy(student[1:2], LABELS[1:2]) / 6, student)[0][1]
    torch.testing.assert_close(row, alone)


def test_an_empty_part_of_a_batch_adds_nothing():
    student, teacher = logits()
    nobody = torch.zeros(6, dtype=torch.bool)
    assert selected_distillation(student, teacher, LABELS, nobody, 3.0)[0].item() == pytest.approx(0, abs=1e-6)
    unlabelled = torch.full((6,), -100)
    assert selected_distillation(student, teacher, unlabelled, nobody, 3.0)[1] == 0
    right, wrong = teacher.argmax(dim=-1), teacher.argmin(dim=-1)
    for labels in (right, wrong, unlabelled, torch.zeros(6, dtype=torch.long)):
        loss = regression(student, teacher, labels, 0.8)
        assert loss.isfinite() and torch.autograd.grad(loss, student)[0].isfinite().all()


def test_the_published_variant_regresses_logits_of_right_rows_and_probabilities_of_wrong_ones():
    student, teacher = logits()
    wrong = is_wrong(teacher, LABELS)
    right = F.cross_entropy(student[~wrong], LABELS[~wrong]) + 4 * F.mse_loss(student[~wrong], teacher[~wrong])
    corrected = revised(teacher, LABELS, 0.8).softmax(-1)
    by_hand = right + F.mse_loss(student.softmax(-1)[wrong], corrected[wrong])
    torch.testing.assert_close(regression(student, teacher, LABELS, 0.8), by_hand)


def test_a_class_of_no_probability_gives_no_nan():
    teacher = torch.tensor([[0.0, 400.0, -400.0]], requires_grad=True)
    student = torch.zeros(1, 3, requires_grad=True)
    loss = distillation(student, revised(teacher, torch.tensor([0]), 0.8), 1.0)
    assert loss.isfinite() and all(g.isfinite().all() for g in torch.autograd.grad(loss, [student, teacher]))


def total(student, teacher):
    soft, rest = selected_distillation(student, revised(teacher, LABELS, 0.8), LABELS, LABELS > 0, 3.0)
    return soft + rest


def test_order_of_rows_does_not_matter_and_half_precision_is_computed_in_fp32():
    student, teacher = logits()
    assert_half_is_computed_in_fp32(total, student.detach(), teacher)
    order = torch.tensor([5, 0, 2, 1, 4, 3])  # rows 0 and 5 have one label
    torch.testing.assert_close(
        selected_distillation(student[order], teacher[order], LABELS[order], LABELS[order] > 0, 3.0),
        selected_distillation(student, teacher, LABELS, LABELS > 0, 3.0),
    )


def test_gradients_equal_finite_differences():
    student, teacher = logits()
    assert gradient_error(total, student, teacher) < 1e-5
    assert gradient_error(lambda s: regression(s, teacher.double(), LABELS, 0.8), student) < 1e-5


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_finished_file_trains_on_a_choice_that_the_teachers_features_decide(lab, tmp_path):
    folder = trained(lab, "lr_ds", SETTINGS, tmp_path)
    assert_logged(
        folder, lambda t: 0.5 * t["task"] + 0.5 * (t["distillation"] + t["unselected"]), {"task", "distillation"}
    )
    [end] = trace(folder, "end")
    assert end["step"] == STEPS and set(end["reads"]) == set(SETTINGS)
    assert end["samples"] <= (STEPS + 1) * 16 and end["gradients"]["logits"]["reached"] == STEPS  # nothing was counted
    layers = 3
    other = trained(lab, "lr_ds", SETTINGS, tmp_path / "other", ablate=f"features-{layers}")
    assert sha256(other / "weights.safetensors") != sha256(folder / "weights.safetensors")
