"""TinyBERT: sums over layers, scores before the softmax, nothing from padding."""

import pytest
import torch
import torch.nn.functional as F

from baselines.errors import BaselineError
from baselines.methods.heads import Heads, scores
from baselines.methods.selective import Projections
from baselines.methods.tinybert import hidden_loss, score_loss
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def heads(width, count=2, rows=3, tokens=5):
    return Heads(*torch.randn(3, rows, tokens, width), count)


def states(*widths):
    return [torch.randn(3, 5, width) for width in widths]


def test_both_losses_are_zero_at_the_teacher():
    blocks, hidden = [heads(8), heads(8)], states(8, 8)
    assert score_loss(blocks, blocks, MASK) == 0
    assert hidden_loss(hidden, hidden, Projections((8, 8), (8, 8), spatial=False), MASK) == 0
    assert score_loss(blocks, [heads(12), heads(12)], MASK) > 0.1


def test_scores_are_compared_before_the_softmax_and_summed_over_layers():
    student, teacher = [heads(8), heads(8)], [heads(12), heads(12)]
    whole = torch.ones_like(MASK)
    sides = [[scores(b.queries, b.keys, 2) for b in side] for side in (student, teacher)]
    expected = sum(F.mse_loss(s, t) for s, t in zip(*sides, strict=True))
    torch.testing.assert_close(score_loss(student, teacher, whole), expected)
    softened = sum(F.mse_loss(s.softmax(-1), t.softmax(-1)) for s, t in zip(*sides, strict=True))
    assert softened < expected / 10  # what attention probabilities, kd_selective's signal, would give
    values_changed = [b._replace(values=torch.randn_like(b.values)) for b in student]
    assert score_loss(values_changed, teacher, whole) == score_loss(student, teacher, whole)


def test_padding_and_order_of_rows_do_not_matter():
    student, teacher = [heads(8)], [heads(12)]
    loss, order = score_loss(student, teacher, MASK), torch.tensor([2, 0, 1])

    def padded(block):
        return Heads(*(F.pad(x, (0, 0, 0, 4), value=3.0) for x in block[:3]), block.count)

    longer = F.pad(MASK, (0, 4))
    torch.testing.assert_close(score_loss([padded(student[0])], [padded(teacher[0])], longer), loss)
    moved = [[Heads(*(x[order] for x in side[0][:3]), 2)] for side in (student, teacher)]
    torch.testing.assert_close(score_loss(*moved, MASK[order]), loss)
    valid = (MASK[:, :, None] * MASK[:, None, :]).float().mean()
    assert valid < 0.7  # the published mean, over padded positions too, would be that much smaller


def test_hidden_loss_is_the_sum_of_mean_squared_errors_through_projections():
    student, teacher = states(4, 4), states(8, 8)
    projections = Projections((4, 4), (8, 8), spatial=False)
    keep = MASK.bool()
    expected = sum(F.mse_loss(s[keep], t[keep]) for s, t in zip(projections(student), teacher, strict=True))
    torch.testing.assert_close(hidden_loss(student, teacher, projections, MASK), expected)


def test_different_numbers_of_heads_are_refused_with_an_alternative():
    with pytest.raises(BaselineError, match=r"2 heads \(student\) and 4 \(teacher\)") as error:
        score_loss([heads(8)], [heads(8, count=4)], MASK)
    assert "use pkd" in error.value.hint


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(
        lambda *x: score_loss([Heads(*x[:3], 2)], [Heads(*x[3:], 2)], MASK), *heads(8)[:3], *heads(12)[:3]
    )
    projections = Projections((4,), (8,), spatial=False)
    assert_half_is_computed_in_fp32(lambda s, t: hidden_loss([s], [t], projections, MASK), *states(4, 8))


def test_gradient_equals_finite_differences():
    mask = torch.tensor([[1, 1, 0]])
    queries, keys, _ = torch.randn(3, 1, 3, 4)
    teacher = [Heads(*torch.randn(3, 1, 3, 6).double(), 2)]
    assert gradient_error(lambda q, k: score_loss([Heads(q, k, k, 2)], teacher, mask), queries, keys) < 1e-5
    projections = Projections((3,), (4,), spatial=False).double()
    target = [torch.randn(1, 3, 4).double()]
    assert gradient_error(lambda x: hidden_loss([x], target, projections, mask), torch.randn(1, 3, 3)) < 1e-5
