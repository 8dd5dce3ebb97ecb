"""Relations between examples: what moves, turns or scales a whole batch leaves them as they are."""

import math

import pytest
import torch
import torch.nn.functional as F

from baselines.errors import BaselineError
from baselines.methods.embedding import embedding, last_pair
from baselines.methods.rkd import angle_loss, distance_loss, relational
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

LOSSES = pytest.mark.parametrize("loss", [distance_loss, angle_loss, relational])


def embeddings(rows=5, student=3, teacher=6):
    return torch.randn(rows, student, requires_grad=True), torch.randn(rows, teacher)


def turned(rows):
    return rows @ torch.linalg.qr(torch.randn(rows.shape[1], rows.shape[1])).Q


@LOSSES
def test_loss_is_zero_at_any_moved_turned_and_scaled_teacher(loss):
    _, teacher = embeddings()
    assert loss(3 * turned(teacher) + 7, teacher) < 1e-8
    assert loss(torch.cat([teacher, torch.zeros(5, 2)], dim=1), teacher) < 1e-12  # another width, the same relations
    assert loss(*embeddings()) > 1e-3


@LOSSES
def test_order_of_rows_does_not_matter_when_it_is_the_same_on_both_sides(loss):
    student, teacher = embeddings()
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))
    assert (loss(student[order], teacher) - loss(student, teacher)).abs() > 1e-4


def test_distances_are_those_of_all_pairs_over_their_mean():
    student, teacher = embeddings()
    pairs = [(i, j) for i in range(5) for j in range(i)]
    ours, theirs = (torch.stack([(x[i] - x[j]).norm() for i, j in pairs]) for x in (student, teacher))
    expected = F.smooth_l1_loss(ours / ours.mean(), theirs / theirs.mean())
    torch.testing.assert_close(distance_loss(student, teacher), expected)
    published = expected * 4 / 5  # counts the distance of each example to itself
    assert (distance_loss(student, teacher) - published).abs() > 1e-3
    without_mean = F.smooth_l1_loss(ours, theirs)
    assert (distance_loss(student, teacher) - without_mean).abs() > 1e-3


def test_angles_are_those_at_j_of_all_triples_of_different_examples():
    student, teacher = embeddings(rows=4)
    triples = [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if len({i, j, k}) == 3]

    def cosines(x):
        return torch.stack([F.cosine_similarity(x[i] - x[j], x[k] - x[j], dim=0) for i, j, k in triples])

    expected = F.smooth_l1_loss(cosines(student), cosines(teacher))
    torch.testing.assert_close(angle_loss(student, teacher), expected)
    published = expected * len(triples) / 4**3  # the others add nothing but are counted
    assert (angle_loss(student, teacher) - published).abs() > 1e-3


def test_a_right_angle_and_a_straight_one_differ_by_a_known_amount():
    right = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    straight = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    half = math.sqrt(0.5)  # angles of the first: 45°, 90°, 45°; of the second: 0°, 180°, 0°
    expected = (2 * 0.5 * (1 - half) ** 2 + 0.5 * 1) / 3
    assert angle_loss(right, straight).item() == pytest.approx(expected, rel=1e-5)


def test_both_weigh_as_in_the_paper_whatever_the_scale_of_an_embedding():
    student, teacher = embeddings()
    expected = distance_loss(student, teacher) + 2 * angle_loss(student, teacher)
    torch.testing.assert_close(relational(student, teacher), expected)
    torch.testing.assert_close(relational(5 * student, teacher), expected)


def test_examples_that_coincide_do_not_drown_the_others():
    student = torch.zeros(4, 3, requires_grad=True)
    loss = relational(student, embeddings(rows=4)[1])
    assert loss.isfinite() and torch.autograd.grad(loss, student)[0].abs().max() == 0
    twice = torch.randn(2, 3).repeat(2, 1).requires_grad_()
    assert 1e-3 < torch.autograd.grad(relational(twice, embeddings(rows=4)[1]), twice)[0].abs().max() < 10


def test_two_examples_form_no_angle():
    with pytest.raises(BaselineError, match="2 examples form no angle") as error:
        relational(*embeddings(rows=2))
    assert "batch_size" in error.value.hint


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(relational, *embeddings())


@LOSSES
def test_gradient_equals_finite_differences(loss):
    student, teacher = embeddings(rows=4)
    assert gradient_error(lambda x: loss(x, teacher.double()), student) < 1e-5


def test_an_embedding_is_the_first_token_or_the_mean_of_a_map():
    states, maps = torch.randn(3, 5, 8).half(), torch.randn(3, 4, 2, 2)
    assert torch.equal(embedding(states), states[:, 0].float())
    torch.testing.assert_close(embedding(maps), maps.flatten(2).mean(-1))
    assert last_pair(12, 6) == ((6, 12),)
