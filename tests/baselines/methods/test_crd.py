"""Contrast: the example's own embedding is the positive, every other row's a negative."""

import math

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.crd import Contrast, Critic, Queue, contrast
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

IDS = torch.tensor([7, 3, 9])
QUEUED = torch.tensor([7, 3, 9, 1, 2])
ROWS, TAU = 100, 0.5


def sides(width=4):
    """Embeddings of length 1: of 3 examples by the student, of these and 2 earlier ones by the teacher."""
    return F.normalize(torch.randn(3, width), dim=-1), F.normalize(torch.randn(5, width), dim=-1)


def test_it_is_the_noise_contrastive_loss_with_h_as_in_the_paper():
    student, teacher = sides()

    def h(t, s):
        likeness = math.exp(float(t @ s) / TAU)
        return likeness / (likeness + 4 / ROWS)  # N = 4 negatives, M = 100 rows

    expected = 0
    for place, s in enumerate(student):
        expected -= math.log(h(teacher[place], s)) / 3
        expected -= sum(math.log(1 - h(t, s)) for other, t in enumerate(teacher) if other != place) / 3
    assert contrast(student, teacher, IDS, QUEUED, ROWS, TAU).item() == pytest.approx(expected, rel=1e-5)


def test_a_critic_that_sees_no_likeness_has_a_known_loss():
    student, teacher = torch.eye(10)[:3], torch.eye(10)[5:]
    chance = math.log1p(4 / ROWS) + 4 * math.log1p(ROWS / 4)
    assert contrast(student, teacher, IDS, QUEUED, ROWS, TAU).item() == pytest.approx(chance, rel=1e-5)


def test_agreement_with_its_own_example_lowers_the_loss_and_with_another_raises_it():
    _, teacher = sides(8)
    own, swapped = teacher[:3], teacher[[1, 2, 0]]
    losses = [contrast(s, teacher, IDS, QUEUED, ROWS, TAU) for s in (own, torch.zeros(3, 8), swapped)]
    assert losses[0] < losses[1] < losses[2]


def test_another_entry_of_the_same_row_is_no_negative():
    student, teacher = sides()
    twice = torch.cat([teacher, teacher[:1]]), torch.cat([QUEUED, IDS[:1]])  # row 7 as it was an epoch ago
    ones = contrast(student[:1], teacher, IDS[:1], QUEUED, ROWS, TAU)
    torch.testing.assert_close(contrast(student[:1], twice[0], IDS[:1], twice[1], ROWS, TAU), ones)
    assert (contrast(student[:1], twice[0], IDS[:1], torch.tensor([7, 3, 9, 1, 2, 8]), ROWS, TAU) - ones).abs() > 0.1


def test_order_of_rows_does_not_matter_when_it_is_the_same_on_both_sides():
    student, teacher = sides()
    order, whole = torch.tensor([2, 0, 1]), torch.tensor([2, 0, 1, 4, 3])
    loss = contrast(student, teacher, IDS, QUEUED, ROWS, TAU)
    torch.testing.assert_close(contrast(student[order], teacher[whole], IDS[order], QUEUED[whole], ROWS, TAU), loss)
    assert (contrast(student[order], teacher, IDS, QUEUED, ROWS, TAU) - loss).abs() > 1e-2


def test_a_softmax_over_the_batch_is_another_loss():
    student, teacher = sides()
    infonce = F.cross_entropy(student @ teacher.T / TAU, torch.arange(3))
    assert (contrast(student, teacher, IDS, QUEUED, ROWS, TAU) - infonce).abs() > 0.5


def test_queue_keeps_the_newest_first_and_no_gradient():
    queue = Queue(4, 2)
    _, ids = queue.push(torch.ones(3, 2, requires_grad=True), torch.tensor([1, 2, 3]))
    assert not queue.embeddings.requires_grad and ids.tolist() == [1, 2, 3]
    kept, ids = queue.push(2 * torch.ones(2, 2), torch.tensor([4, 5]))
    assert ids.tolist() == [4, 5, 1, 2] and kept[:, 0].tolist() == [2, 2, 1, 1]
    again = Queue(4, 2)
    again.load_state_dict(queue.state_dict())  # as a checkpoint brings it back
    assert again.push(3 * torch.ones(1, 2), torch.tensor([6]))[1].tolist() == [6, 4, 5, 1]
    assert not list(queue.parameters()) and Queue(2, 2).push(torch.ones(3, 2), torch.arange(3))[1].tolist() == [0, 1]


def test_contrast_of_several_layers_is_the_mean_of_each_and_their_queues_grow():
    parts = Contrast((4, 6), (8, 8), 5, 6, ROWS)
    student, teacher = [torch.randn(3, 2, 4), torch.randn(3, 6, 2, 2)], [torch.randn(3, 2, 8), torch.randn(3, 8, 2, 2)]
    losses = []
    for critic, s, t in zip(
        parts.critics,
        (student[0][:, 0], student[1].mean((2, 3))),
        (teacher[0][:, 0], teacher[1].mean((2, 3))),
        strict=True,
    ):
        losses.append(contrast(*critic(s, t), IDS, IDS, ROWS, TAU))
    torch.testing.assert_close(parts(student, teacher, IDS, TAU), sum(losses) / 2)
    assert [queue.ids[:3].tolist() for queue in parts.queues] == [IDS.tolist()] * 2
    assert parts(student, teacher, IDS + 20, TAU) > sum(losses) / 2  # earlier rows are negatives now


def test_critic_gives_unit_vectors_of_one_width_and_both_its_maps_learn():
    critic = Critic(3, 6, 4)
    student, teacher = critic(torch.randn(3, 3), torch.randn(5, 6))
    for side in (student, teacher):
        torch.testing.assert_close(side.norm(dim=-1), torch.ones(len(side)))
    contrast(student, teacher, IDS, QUEUED, ROWS, TAU).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in critic.parameters())


def test_training_tells_an_example_from_the_others():
    critic, ids = Critic(8, 9, 8), torch.arange(6)
    student = torch.randn(6, 8)
    teacher = student @ torch.randn(8, 9)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        loss = contrast(*critic(student, teacher), ids, ids, 6, 0.2)
        loss.backward()
        optimizer.step()
    ours, theirs = critic(student, teacher)
    similarity = ours @ theirs.T
    assert loss < (math.log1p(5 / 6) + 5 * math.log1p(6 / 5)) / 2  # half of what a blind critic has
    assert similarity.diagonal().mean() > similarity[~torch.eye(6, dtype=torch.bool)].mean() + 0.3


def test_half_precision_is_computed_in_fp32():
    critic = Critic(3, 6, 4)
    assert_half_is_computed_in_fp32(
        lambda s, t: contrast(*critic(s, t), IDS, QUEUED, ROWS, TAU), torch.randn(3, 3), torch.randn(5, 6)
    )


def test_gradient_equals_finite_differences():
    assert gradient_error(lambda s, t: contrast(s, t, IDS, QUEUED, ROWS, TAU), *sides()) < 1e-5
