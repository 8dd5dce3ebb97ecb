"""Influence: what it predicts is what happens when a row weighs more, and the harmful rows are dropped."""

import pytest
import torch
import torch.nn.functional as F

from baselines.errors import BaselineError
from baselines.methods.held_back import held_back
from baselines.methods.influence import contradicted, curvature, doubt, fit, influence, smallest, solve, standardised

RIDGE = 1e-2
LABELS = torch.arange(60) % 3


@pytest.fixture
def teacher():
    """Features [60, 4] and logits [60, 3] of a teacher that is wrong about the first six rows."""
    said = torch.where(torch.arange(60) < 6, (LABELS + 1) % 3, LABELS)
    features = F.one_hot(LABELS, 3).float() @ torch.randn(3, 4) + 0.5 * torch.randn(60, 4)
    return features, 2.0 * F.one_hot(said, 3) + 0.5 * torch.randn(60, 3)


def loss(inputs, answers, weights):
    return -(answers * (inputs @ weights).log_softmax(dim=-1)).sum(dim=-1)


def reweighted(inputs, answers, weighs):
    """The probe fitted with weights [n] of the rows: as many Newton steps as it takes, with autograd's Hessian."""
    flat = torch.zeros(inputs.shape[1] * answers.shape[1], dtype=torch.float64)

    def objective(v):
        weights = v.view(inputs.shape[1], -1)
        return (weighs * loss(inputs, answers, weights)).mean() + RIDGE / 2 * v.square().sum()

    for _ in range(12):
        slope = torch.func.grad(objective)(flat)
        flat = flat - torch.linalg.solve(torch.func.hessian(objective)(flat), slope)
    return flat.view(inputs.shape[1], -1)


def test_influence_is_the_derivative_of_the_held_back_loss_by_a_rows_weight(teacher):
    """LD-8: weights 0.95 and 1.05, each probe fitted anew."""
    features, logits = teacher
    held = held_back(LABELS)
    found = influence(features, logits, LABELS, held, RIDGE)[~held]
    inputs, answers = standardised(features), logits.double().softmax(dim=-1)
    gold = F.one_hot(LABELS, 3).double()
    measured = []
    for row in range(12):
        ends = []
        for weight in (0.95, 1.05):
            weighs = torch.ones(int((~held).sum()), dtype=torch.float64)
            weighs[row] = weight
            probe = reweighted(inputs[~held], answers[~held], weighs)
            ends.append(loss(inputs[held], gold[held], probe).mean())
        measured.append((ends[1] - ends[0]) / 0.1 * len(weighs))
    measured = torch.stack(measured)
    torch.testing.assert_close(found[:12], measured, rtol=0, atol=2e-3 * measured.abs().max().item())
    assert torch.stack([found[:12], measured]).corrcoef()[0, 1] > 0.99999


def test_rows_that_the_teacher_gets_wrong_are_more_harmful(teacher):
    scores = influence(*teacher, LABELS, held_back(LABELS), RIDGE)
    assert scores[:6].mean() > 0 > scores[6:].mean()
    kept = smallest(scores, 0.8)
    assert kept.sum() == 48 and (~kept)[:6].double().mean() > 0.6


def test_scores_do_not_depend_on_the_scale_of_features_or_on_their_order(teacher):
    features, logits = teacher
    held = held_back(LABELS)
    scores = influence(features, logits, LABELS, held, RIDGE)
    torch.testing.assert_close(influence(100 * features + 7, logits, LABELS, held, RIDGE), scores, rtol=1e-4, atol=1e-6)
    order = torch.randperm(60)
    moved = influence(features[order], logits[order], LABELS[order], held[order], RIDGE)
    torch.testing.assert_close(moved, scores[order], rtol=1e-4, atol=1e-6)


def test_the_fit_is_a_minimum_and_its_curvature_the_hessian(teacher):
    inputs, answers = standardised(teacher[0]), teacher[1].double().softmax(dim=-1)
    weights = fit(inputs, answers, RIDGE)
    torch.testing.assert_close(weights, reweighted(inputs, answers, torch.ones(60)), atol=1e-7, rtol=0)
    direction = torch.randn_like(weights)

    def objective(w):
        return loss(inputs, answers, w).mean() + RIDGE / 2 * w.square().sum()

    exact = torch.func.jvp(torch.func.grad(objective), (weights,), (direction,))[1]
    torch.testing.assert_close(curvature(inputs, weights, direction, RIDGE), exact)


def test_conjugate_gradients_solve_or_say_so():
    """LD-9."""
    root = torch.randn(9, 9, dtype=torch.float64)
    matrix, goal = root @ root.T + 0.1 * torch.eye(9), torch.randn(9, dtype=torch.float64)
    assert (matrix @ solve(lambda v: matrix @ v, goal) - goal).norm() < 1e-7 * goal.norm()
    assert solve(lambda v: matrix @ v, torch.zeros(9, dtype=torch.float64)).norm() == 0
    singular = torch.diag(torch.tensor([1.0, 0.0])).double()
    with pytest.raises(BaselineError, match="influence is not solved"):
        solve(lambda v: singular @ v, torch.ones(2, dtype=torch.float64))


def test_the_simple_selector_doubts_what_the_teacher_doubts_and_no_row_without_a_label():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [9.0, 0.0]])
    found = doubt(logits, torch.tensor([0, 0, -100]))
    torch.testing.assert_close(found, torch.tensor([1 - 0.880797, 0.880797, 0.0]).double(), atol=1e-5, rtol=0)


def test_the_share_that_is_kept_is_rounded_down_and_ties_go_by_the_order_of_rows():
    scores = torch.tensor([0.3, 0.1, 0.1, 0.2, 0.1])
    assert smallest(scores, 0.5).tolist() == [False, True, True, False, False]
    assert smallest(scores, 1.0).all() and smallest(torch.zeros(10), 0.7).sum() == 7
    for ratio in (0.0, 1.1):
        with pytest.raises(ValueError, match="share to keep"):
            smallest(scores, ratio)


def test_a_constant_feature_is_harmless_and_contradicted_labels_are_counted(teacher):
    features = torch.cat([teacher[0], torch.full((60, 1), 5.0)], dim=1)
    assert influence(features, teacher[1], LABELS, held_back(LABELS), RIDGE).isfinite().all()
    assert contradicted(torch.eye(4), torch.tensor([0, 2, 2, -100])) == pytest.approx(1 / 3)
    assert contradicted(torch.eye(2), torch.tensor([-100, -100])) == 0
