"""Mutual learning: peers that pull each other together and are not pulled by those they teach."""

import io
import json
import random

import numpy as np
import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.dml import cross_entropies, divergences, mutual
from baselines.methods.kd import cross_entropy, distillation
from baselines.models.build import build
from baselines.models.fingerprint import fingerprint, parameters
from baselines.training.experiment import Experiment
from tests.baselines.lab import STEPS, Lab, here, report, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

LABELS = torch.tensor([0, 1, -100, 3, 4, -100])
PLAN = {"name": "dml", "peers": 3, "alpha": 0.5, "temperature": 2.0}


def peers(count=3, rows=6, classes=5):
    return [3 * own for own in torch.randn(count, rows, classes)]


def total(*logits, temperature=2.0):
    task, soft = mutual(logits, LABELS[: len(logits[0])], temperature)
    return (0.5 * task + 0.5 * soft).sum()


def test_equal_peers_have_nothing_to_teach_each_other():
    """PI-5: identical peers without dropout have KL 0, and no gradient of it."""
    own = torch.randn(6, 5, requires_grad=True)
    soft = mutual([own, own, own], LABELS, 2.0)[1]
    assert soft.abs().max() < 1e-6
    assert torch.autograd.grad(soft.sum(), own)[0].abs().max() < 1e-6
    assert mutual(peers(), LABELS, 2.0)[1].min() > 1e-2


def test_peers_in_another_order_have_the_same_losses_in_that_order():
    """PI-6: with all peers updated at once none comes first."""
    logits, order = peers(), [2, 0, 1]
    task, soft = mutual(logits, LABELS, 2.0)
    moved = mutual([logits[place] for place in order], LABELS, 2.0)
    torch.testing.assert_close(moved, (task[order], soft[order]))
    assert len({round(value.item(), 4) for value in soft}) == 3


def test_the_losses_are_those_of_the_paper_averaged_over_the_others():
    logits = peers()
    task, soft = mutual(logits, LABELS, 2.0)
    for place, own in enumerate(logits):
        others = [other for other in logits if other is not own]
        torch.testing.assert_close(task[place], cross_entropy(own, LABELS))
        torch.testing.assert_close(soft[place], sum(distillation(own, other, 2.0) for other in others) / 2)


def test_a_peer_is_not_pulled_towards_those_it_teaches():
    first, second = (own.requires_grad_() for own in peers(2))
    soft = mutual([first, second], LABELS, 2.0)[1]
    assert not torch.autograd.grad(soft[1], first, retain_graph=True)[0].any()
    alone = distillation(first, second.detach(), 2.0)
    torch.testing.assert_close(torch.autograd.grad(soft.sum(), first)[0], torch.autograd.grad(alone, first)[0])


def test_rows_without_a_label_are_learned_from_the_peers_alone():
    logits = [own.requires_grad_() for own in peers(2)]
    task, soft = mutual(logits, LABELS, 2.0)
    assert not torch.autograd.grad(task.sum(), logits[0], retain_graph=True)[0][LABELS == -100].any()
    assert torch.autograd.grad(soft.sum(), logits[0])[0][LABELS == -100].any(dim=1).all()


def test_divergences_are_not_symmetric_and_zero_of_a_peer_from_itself():
    logits = peers()
    found = divergences(logits, 2.0)
    assert not found.diagonal().any()
    torch.testing.assert_close(found[0, 1], distillation(logits[1], logits[0], 2.0))
    assert (found - found.T).abs().max() > 1e-2


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(total, *peers())


def test_gradient_equals_finite_differences_of_each_peer_while_the_others_stand():
    logits = [own.double() for own in peers(3, rows=3, classes=3)]
    for place in range(3):

        def loss(own, place=place):
            task, soft = mutual([*logits[:place], own, *logits[place + 1 :]], LABELS[:3], 2.0)
            return task[place] + soft[place]

        assert gradient_error(loss, logits[place]) < 1e-5


def test_one_peer_and_other_classes_are_refused():
    with pytest.raises(ValueError, match="two peers or more"):
        mutual(peers(1), LABELS, 2.0)
    with pytest.raises(ValueError, match="differ"):
        mutual([torch.zeros(6, 5), torch.zeros(6, 4)], LABELS.clamp(max=3), 2.0)
    assert cross_entropies(peers(), LABELS).shape == (3,)


@pytest.fixture(scope="module", params=["text", "image"])
def lab(request, tmp_path_factory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("dml"), request.param)
    here("prepare", made.prepare_job())
    plain = made.unit("student_only", method={})
    here("trial", made.trial_job(made.unit("dml", method=PLAN, teacher=False), plain))
    return made


def test_the_finished_file_trains_the_student_that_was_planned_and_returns_it_alone(lab):
    ours, plain = lab.trials / "dml/1", lab.trials / "student_only/1"
    assert report(ours)["status"] == "ok", report(ours)["traceback"]
    assert report(ours)["initial"] == report(plain)["initial"] == trace(ours, "start")[0]["weights"]
    here("predict", lab.predict_job(lab.answer("dml")))
    assert "ok" in (lab.logits / "dml/prediction.json").read_text()
    end, other = (trace(folder, "end")[0] for folder in (ours, plain))
    assert [end[name] for name in ("forwards", "forward_rows", "touched")] == [STEPS, 16 * STEPS, 0]
    assert end["executed"] == other["executed"]
    assert end["distinct"] == {"train": 32, "transfer": 64} and set(end["reads"]) == {"peers", "alpha", "temperature"}


def test_what_it_logs_is_its_loss(lab):
    lines = trace(lab.trials / "dml/1", "log")
    assert len(lines) == STEPS
    for line in lines:
        terms = line["terms"]
        assert line["loss"] == pytest.approx(0.5 * terms["task"] + 0.5 * terms["distillation"], rel=1e-3)
        assert terms["distillation"] > 0


def task(lab):
    return json.loads((lab.data / "seen/task.json").read_text())


def peer_of(lab, folder, number=1, seed=1, **sizes):
    unit = lab.unit("dml", method=PLAN, teacher=False)
    return Experiment(lab.trial_job(), unit, seed, folder, io.StringIO()).peer(number, **sizes)


def test_a_peer_is_a_model_like_the_student_whose_weights_its_number_and_the_seed_decide(lab, tmp_path):
    made = [peer_of(lab, tmp_path), peer_of(lab, tmp_path, number=2), peer_of(lab, tmp_path, seed=2)]
    assert len({fingerprint(each) for each in made}) == 3
    assert fingerprint(peer_of(lab, tmp_path)) == fingerprint(made[0])
    student = build(lab.models["student"], task(lab), seed=1)
    assert type(student) in (type(made[0]), type(made[0]).__base__)  # of texts it is read in parts
    assert parameters(made[0]) == parameters(student)
    assert fingerprint(student) not in {fingerprint(each) for each in made}


def test_a_peer_of_other_sizes_is_built_from_them_and_unknown_sizes_are_refused(lab, tmp_path):
    small = peer_of(lab, tmp_path, width=4)
    assert parameters(small) < parameters(peer_of(lab, tmp_path))
    with pytest.raises(BaselineError, match="no size 'stem'"):
        peer_of(lab, tmp_path, stem="cifar")


def test_a_peer_draws_nothing_from_the_trials_random_numbers(lab, tmp_path):
    unit = lab.unit("dml", method=PLAN, teacher=False)
    made = Experiment(lab.trial_job(), unit, 1, tmp_path, io.StringIO())
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    made.peer(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
