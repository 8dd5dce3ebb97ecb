"""MiniLM: relations between tokens, for any two widths, and blind to padding."""

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.heads import Heads, run
from baselines.methods.minilm import relation, relation_loss
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

KINDS = pytest.mark.parametrize("kind", ["self", "attention"])
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def heads(width, rows=3, tokens=5):
    return Heads(*torch.randn(3, rows, tokens, width), 2)


def each(block, change):
    return Heads(*(change(states) for states in block[:3]), block.count)


@KINDS
def test_loss_is_zero_at_the_teacher_and_positive_elsewhere(kind):
    student = heads(8)
    assert relation_loss(student, student, 4, MASK, kind).abs() < 1e-6
    assert relation_loss(student, heads(12), 4, MASK, kind) > 0.1


@KINDS
def test_a_turn_within_each_head_changes_nothing(kind):
    student, teacher, turn = heads(8), heads(12), torch.linalg.qr(torch.randn(4, 4)).Q
    turned = each(student, lambda x: (x.unflatten(-1, (2, 4)) @ turn).flatten(-2))
    torch.testing.assert_close(
        relation_loss(turned, teacher, 2, MASK, kind), relation_loss(student, teacher, 2, MASK, kind)
    )
    stretched = each(student, lambda x: 2 * x)
    assert relation_loss(stretched, teacher, 2, MASK, kind) > relation_loss(student, teacher, 2, MASK, kind) + 0.1


@KINDS
def test_padding_and_order_of_rows_do_not_matter(kind):
    student, teacher = heads(8), heads(12)
    loss, order = relation_loss(student, teacher, 4, MASK, kind), torch.tensor([2, 0, 1])
    longer = [each(side, lambda x: F.pad(x, (0, 0, 0, 4), value=3.0)) for side in (student, teacher)]
    torch.testing.assert_close(relation_loss(*longer, 4, F.pad(MASK, (0, 4)), kind), loss)
    moved = [each(side, lambda x: x[order]) for side in (student, teacher)]
    torch.testing.assert_close(relation_loss(*moved, 4, MASK[order], kind), loss)
    assert (relation_loss(student, teacher, 4, torch.ones_like(MASK), kind) - loss).abs() > 1e-3


def test_it_is_the_sum_of_divergences_averaged_over_heads_and_valid_queries():
    student, teacher = heads(8), heads(12)
    expected = 0
    for ours, theirs in zip(student[:3], teacher[:3], strict=True):  # query-query, key-key, value-value
        for head in range(2):
            for row, kept in enumerate(MASK.sum(1).tolist()):
                p, q = (
                    (part @ part.T / part.shape[1] ** 0.5).softmax(-1)
                    for part in (
                        side[row, :kept, head * side.shape[2] // 2 : (head + 1) * side.shape[2] // 2]
                        for side in (theirs, ours)
                    )
                )
                expected += (p * (p.log() - q.log())).sum() / 2 / MASK.sum()
    torch.testing.assert_close(relation_loss(student, teacher, 2, MASK), expected)
    for mistake in (relation_loss(teacher, student, 2, MASK), expected / 3, expected / 5):
        assert (mistake - expected).abs() > 1e-2  # sides swapped, relations averaged, divided by L


def test_attention_kind_is_the_models_own_attention(models, rows):
    model, batch = models.bert(2), rows.inputs_of(rows.collate(rows.text(4)))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        reported = model(**batch, output_attentions=True).attentions[1]
        _, (block,) = run(model, batch, (2,))
    ours = relation(block.queries, block.keys, block.count, batch["attention_mask"])
    torch.testing.assert_close(ours.exp(), reported)


def test_relation_heads_must_divide_both_widths():
    with pytest.raises(ValueError, match="3 heads do not divide the width 8"):
        relation_loss(heads(8), heads(12), 3, MASK)


def test_half_precision_is_computed_in_fp32():
    student, teacher = heads(8), heads(12)
    assert_half_is_computed_in_fp32(
        lambda *x: relation_loss(Heads(*x[:3], 2), Heads(*x[3:], 2), 4, MASK), *student[:3], *teacher[:3]
    )


@KINDS
def test_gradient_equals_finite_differences(kind):
    student, teacher = heads(4, rows=1, tokens=3), each(heads(6, rows=1, tokens=3), torch.Tensor.double)
    mask = torch.tensor([[1, 1, 0]])
    assert gradient_error(lambda *x: relation_loss(Heads(*x, 2), teacher, 2, mask, kind), *student[:3]) < 1e-5
