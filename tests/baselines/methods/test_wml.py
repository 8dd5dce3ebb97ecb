"""Weighted mutual learning: weights on the simplex, their exact gradient, and rows that nobody is trained on."""

import json
import math
import shutil
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.data.rows import NO_LABEL, Rows
from baselines.errors import BaselineError
from baselines.methods.dml import mutual
from baselines.methods.kd import cross_entropy, distillation
from baselines.methods.wml import (
    Balance,
    Held,
    effective_peers,
    ensemble_loss,
    hypergradient,
    mirror_descent,
    outer_gradient,
    peer_terms,
    without,
)
from tests.baselines.lab import STEPS, Lab, here, report, sha256, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error
from tests.baselines.training.test_checkpoints import SAVED, cut_off
from tests.baselines.training.test_checkpoints import unit as mortal

SOME = settings(max_examples=50, deadline=None)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
RATE = 0.1
PLAN = {"name": "wml", "peers": 3, "peer_sizes": "same", "alpha": 0.5, "temperature": 1.0}
PLAN |= {"outer": "bilevel", "eta": 0.5, "update_every": 2, "weight_floor": 0.02}


def answers(peers, images, parameters):
    return [functional_call(peer, own, images) for peer, own in zip(peers, parameters, strict=True)]


def problem(count=3, seeds=None, labels=LABELS):
    """G(θ), L2(θ, ω), θ and ω of small networks, in fp64."""
    peers = []
    for seed in seeds or range(count):
        torch.manual_seed(seed)
        peers.append(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double())
    torch.manual_seed(9)
    images, held = torch.randn(2, 6, 4).double()

    def inner(parameters):
        task, soft = peer_terms(answers(peers, images, parameters), labels, 2.0)
        return 0.5 * task + 0.5 * soft

    def outer(parameters, weights):
        return ensemble_loss(answers(peers, held, parameters), labels.flip(0), weights)

    point = [{name: p.detach() for name, p in peer.named_parameters()} for peer in peers]
    weights = torch.rand(len(peers)).double()
    return inner, outer, point, weights / weights.sum()


def ahead(inner, point, weights):
    """θ' = θ − γ ∇(ω · G), differentiable in ω."""
    flat = [{n: p.clone().requires_grad_() for n, p in own.items()} for own in point]
    leaves = [p for own in flat for p in own.values()]
    slopes = iter(torch.autograd.grad(weights @ inner(flat), leaves, create_graph=True))
    return [{name: p - RATE * next(slopes) for name, p in own.items()} for own in flat]


@SOME
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), st.floats(0.05, 2.0), st.sampled_from([0.0, 0.02, 0.2]))
def test_weights_stay_on_the_simplex_and_above_the_floor(gradient, eta, floor):
    """WML-1: ω ≥ 0 and Σω = 1 after any gradient."""
    weights = torch.full((len(gradient),), 1 / len(gradient))
    for _ in range(20):
        weights = mirror_descent(weights, torch.tensor(gradient), eta, floor)
        assert weights.sum().item() == pytest.approx(1, abs=1e-5) and weights.min() >= floor - 1e-6


def test_equal_gradients_leave_the_weights_as_they_are():
    """WML-2: only differences of the gradient move weights."""
    weights = torch.tensor([0.5, 0.3, 0.2])
    torch.testing.assert_close(mirror_descent(weights, torch.full((3,), 0.7), 0.5, floor=0.0), weights)


@SOME
@given(st.permutations([-0.9, -0.2, 0.1, 0.8]))
def test_a_larger_gradient_means_a_smaller_share(gradient):
    """WML-3: ω_k after ÷ ω_k before falls with g_k, by exp(−η g_k)."""
    weights, slope = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor(gradient)
    ratio = mirror_descent(weights, slope, 0.5, floor=0.0) / weights
    assert ratio.argsort().tolist() == slope.argsort(descending=True).tolist()
    torch.testing.assert_close(ratio[0] / ratio[1], torch.exp(-0.5 * (slope[0] - slope[1])))


def test_hypergradient_is_the_derivative_of_the_outer_loss_after_an_inner_step():
    """WML-4: equal to finite differences and to autograd through the unrolled step, in fp64."""
    inner, outer, point, weights = problem()
    found = hypergradient(inner, outer, point, weights, RATE)
    free = weights.clone().requires_grad_()
    unrolled = torch.autograd.grad(outer(ahead(inner, point, free), free), free)[0]
    assert ((found - unrolled).norm() / unrolled.norm()).item() < 1e-12

    def slope(place, step=1e-5):
        move = step * F.one_hot(torch.tensor(place), 3).double()
        above, below = (outer(ahead(inner, point, w), w) for w in (weights + move, weights - move))
        return (above - below) / (2 * step)

    measured = torch.stack([slope(place) for place in range(3)]).detach()
    assert ((found - measured).norm() / measured.norm()).item() < 1e-6
    direct = hypergradient(inner, outer, point, weights, rate=0.0)
    assert ((direct - measured).norm() / measured.norm()).item() > 1e-3


def test_equal_peers_keep_uniform_weights():
    """WML-5: KL between them is 0 and no weight moves."""
    inner, outer, point, _ = problem(seeds=[3, 3, 3])
    weights = torch.full((3,), 1 / 3).double()
    own = torch.randn(6, 3)
    assert peer_terms([own, own, own], LABELS, 2.0)[1].abs().max() < 1e-6
    moved = mirror_descent(weights, hypergradient(inner, outer, point, weights, RATE), 0.5, floor=0.02)
    torch.testing.assert_close(moved, weights)


def test_one_peer_is_plain_training():
    """WML-6: its weight is 1 and its loss (1 − alpha) times the cross-entropy."""
    own = torch.randn(6, 3)
    task, soft = peer_terms([own], LABELS, 2.0)
    assert soft.tolist() == [0] and torch.equal(task[0], cross_entropy(own, LABELS))
    assert mirror_descent(torch.ones(1), torch.tensor([0.7]), 0.5, floor=0.02).tolist() == [1]


def test_peers_in_another_order_have_their_weights_in_that_order():
    """WML-7: permuting peers permutes ω."""
    moved = []
    for order in ([0, 1, 2], [2, 0, 1]):
        inner, outer, point, _ = problem(seeds=order)
        weights = torch.tensor([0.5, 0.3, 0.2]).double()[order]
        moved.append(mirror_descent(weights, hypergradient(inner, outer, point, weights, RATE), 0.5, 0.02))
    torch.testing.assert_close(moved[1], moved[0][[2, 0, 1]])
    assert (moved[0] - moved[0][[2, 0, 1]]).abs().max() > 1e-2


def test_uniform_weights_are_mutual_learning_up_to_constants():
    """WML-8: M times the task term and M / (M − 1) times the other are those of dml."""
    logits = [*torch.randn(4, 6, 3)]
    ours = [term.mean() for term in peer_terms(logits, LABELS, 2.0)]
    task, soft = (term.sum() for term in mutual(logits, LABELS, 2.0))
    torch.testing.assert_close(task, 4 * ours[0])
    torch.testing.assert_close(soft, 4 / 3 * ours[1])


def test_weighted_parts_add_up_to_the_inner_loss():
    logits, weights = [*torch.randn(3, 6, 3)], torch.tensor([0.5, 0.3, 0.2])
    task, soft = (weights @ term for term in peer_terms(logits, LABELS, 2.0))
    torch.testing.assert_close(
        task, sum(w * cross_entropy(own, LABELS) for w, own in zip(weights, logits, strict=True))
    )
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    torch.testing.assert_close(soft, sum(weights[j] * distillation(logits[i], logits[j], 2.0) for i, j in pairs))


def test_ensemble_is_one_of_logits_and_not_of_losses():
    logits, weights = [*3 * torch.randn(3, 6, 3)], torch.tensor([0.5, 0.3, 0.2])
    loss = ensemble_loss(logits, LABELS, weights)
    torch.testing.assert_close(loss, F.cross_entropy(sum(w * z for w, z in zip(weights, logits, strict=True)), LABELS))
    published = weights @ torch.stack([cross_entropy(own, LABELS) for own in logits])
    assert (loss - published).abs() > 1e-2


def test_a_peer_that_answers_nan_moves_nothing_and_a_huge_gradient_counts_as_one():
    weights = torch.full((3,), 1 / 3)
    moved = mirror_descent(weights, torch.tensor([math.nan, 0.0, 1e9]), 0.5, 0.0)
    torch.testing.assert_close(moved, mirror_descent(weights, torch.tensor([0.0, 0.0, 1.0]), 0.5, 0.0))


def test_effective_number_of_peers_runs_from_one_to_all():
    assert effective_peers(torch.full((4,), 0.25)).item() == pytest.approx(4)
    assert effective_peers(torch.tensor([1.0, 0.0, 0.0])).item() == pytest.approx(1)


def test_rows_held_back_teach_nobody_and_still_count_as_rows():
    logits = [own.requires_grad_() for own in torch.randn(3, 6, 3)]
    held = torch.tensor([0, 1, 0, 0, 0, 1]).bool()
    task, soft = (term.sum() for term in peer_terms(*without(held, logits, LABELS), 2.0))
    gradients = torch.autograd.grad(task + soft, logits)
    assert not any(each[held].any() for each in gradients) and all(each[~held].all() for each in gradients)
    kept = [term.sum() for term in peer_terms([own[~held] for own in logits], LABELS[~held], 2.0)]
    torch.testing.assert_close([task, soft], [term * 4 / 6 for term in kept])


def rows_of(count, labels=None):
    items = [np.full((2, 2, 1), place, np.uint8) for place in range(count)]
    labels = np.arange(count) % 3 if labels is None else labels
    return Rows("image", items, labels, np.arange(count))


TASK = {"kind": "image", "mean": [0.0], "std": [1.0]}


def test_every_tenth_labelled_row_is_held_back_by_its_id_and_no_other():
    held = Held(rows_of(45), TASK, size=3)
    seen = [held.batch(number)["ids"].tolist() for number in range(3)]
    assert seen == [[9, 19, 29], [39, 9, 19], [29, 39, 9]]
    ids, labels = torch.arange(45), torch.arange(45) % 3
    among = Held.among(ids, labels)
    assert ids[among].tolist() == [9, 19, 29, 39]
    assert not Held.among(ids, torch.full((45,), NO_LABEL)).any()
    batch = held.batch(0)
    assert batch["labels"].tolist() == [0, 1, 2] and batch["pixel_values"].shape == (3, 1, 2, 2)


def test_too_few_rows_to_hold_any_back_are_refused_with_what_to_do():
    with pytest.raises(BaselineError, match="19 training rows leave 1 ") as caught:
        Held(rows_of(19), TASK, size=3)
    assert "outer = fixed" in caught.value.hint


def test_weights_move_once_at_every_kth_step_and_never_when_fixed():
    balance = Balance(3, "bilevel", 0.5, 5, 0.02)
    due = [step for step in range(12) if balance.due(step)]
    assert due == [5, 10]
    balance.move(torch.tensor([0.5, 0.0, 0.0]), step=5)
    assert not balance.due(5) and balance.due(10) and balance.weights[0] < 1 / 3
    assert set(balance.state_dict()) == {"weights", "moved"} and not [*balance.parameters()]
    assert not any(Balance(3, "fixed", 0.5, 5, 0.02).due(step) for step in range(12))
    with pytest.raises(ValueError, match=r"weight_floor must lie in 0\.\.1/3, got 0\.5"):
        Balance(3, "bilevel", 0.5, 5, 0.5)


@pytest.mark.parametrize("name", ["distilbert", "resnet"])
def test_gradient_of_real_models_is_the_exact_one_and_leaves_them_as_they_were(models, rows, name):
    peers = [getattr(models, name)() for _ in range(3)]
    peers[0].add_module("peers", nn.ModuleList(peers[1:]))
    kind = rows.text if "bert" in name else rows.image
    (inputs, labels), held = [(rows.inputs_of(b), b["labels"]) for b in (rows.collate(kind(8)), rows.collate(kind(8)))]
    balance = Balance(3, "bilevel", 0.5, 5, 0.02)
    peers[0].train()
    for peer in peers:
        peer(**inputs)  # BatchNorm's statistics are those of these rows
    before = torch.get_rng_state(), [value.clone() for value in peers[0].state_dict().values()]
    nobody = torch.zeros(8).bool()
    found = outer_gradient(peers, (inputs, labels, nobody), held, balance, RATE, 0.5, 2.0)
    assert torch.equal(torch.get_rng_state(), before[0]) and all(module.training for module in peers[0].modules())
    assert all(map(torch.equal, before[1], peers[0].state_dict().values()))

    names = [[n for n, _ in peer.named_parameters() if not n.startswith("peers")] for peer in peers]
    point = [{n: peer.get_parameter(n).detach() for n in own} for peer, own in zip(peers, names, strict=True)]
    peers[0].eval()

    def logits(given, parameters):
        return [functional_call(p, own, (), given).logits for p, own in zip(peers, parameters, strict=True)]

    def inner(parameters):
        task, soft = peer_terms(logits(inputs, parameters), labels, 2.0)
        return 0.5 * task + 0.5 * soft

    free = balance.weights.clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the other has no second derivative
        loss = ensemble_loss(logits(held[0], ahead(inner, point, free)), held[1], free)
    torch.testing.assert_close(found, torch.autograd.grad(loss, free)[0], rtol=1e-3, atol=1e-5)
    balance.outer = "direct"
    direct = outer_gradient(peers, (inputs, labels, nobody), held, balance, RATE, 0.5, 2.0)
    assert (direct - found).abs().max() > 1e-4


def test_half_precision_is_computed_in_fp32():
    weights = torch.tensor([0.5, 0.3, 0.2])

    def loss(*logits):
        task, soft = peer_terms(logits, LABELS, 2.0)
        return weights @ (task + soft)

    assert_half_is_computed_in_fp32(loss, *torch.randn(3, 6, 3))


def test_gradients_equal_finite_differences():
    logits = [*torch.randn(3, 3, 3).double()]
    weights = torch.tensor([0.5, 0.3, 0.2]).double()
    for place in range(3):

        def loss(own, place=place):
            """What of L1 moves this peer: as a teacher it stands still."""
            given = [*logits[:place], own, *logits[place + 1 :]]
            pulls = sum(weights[j] * distillation(own, logits[j], 2.0) for j in range(3) if j != place)
            return weights[place] * peer_terms(given, LABELS[:3], 2.0)[0][place] + pulls

        assert gradient_error(loss, logits[place]) < 1e-5
        own = logits[place].clone().requires_grad_()
        task, soft = peer_terms([*logits[:place], own, *logits[place + 1 :]], LABELS[:3], 2.0)
        ours = torch.autograd.grad(weights @ (task + soft), own)[0]
        torch.testing.assert_close(ours, torch.autograd.grad(loss(own), own)[0])
    assert gradient_error(partial(ensemble_loss, logits, LABELS[:3]), weights) < 1e-5


@pytest.fixture(scope="module", params=["text", "image"])
def lab(request, tmp_path_factory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("wml"), request.param)
    here("prepare", made.prepare_job())
    here("trial", made.trial_job(planned(made), made.unit("student_only")))
    return made


def planned(lab, **changes):
    return lab.unit("wml", method=PLAN | changes, teacher=False)


def test_the_finished_file_trains_the_student_that_was_planned_and_returns_it_alone(lab):
    ours, plain = lab.trials / "wml/1", lab.trials / "student_only/1"
    assert report(ours)["status"] == "ok", report(ours)["traceback"]
    assert report(ours)["initial"] == report(plain)["initial"] == trace(ours, "start")[0]["weights"]
    here("predict", lab.predict_job(lab.answer("wml")))
    assert "ok" in (lab.logits / "wml/prediction.json").read_text()
    end, other = (trace(folder, "end")[0] for folder in (ours, plain))
    assert [end[name] for name in ("forwards", "forward_rows", "touched")] == [STEPS, 16 * STEPS, 0]
    assert end["executed"] == other["executed"] and end["distinct"] == {"train": 32, "transfer": 64}
    assert set(end["reads"]) == set(PLAN) - {"name"}


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_what_it_logs_is_its_loss_and_the_weights_leave_uniform_when_they_may(lab, tmp_path):
    ways = ("bilevel", "direct", "fixed")
    here("trial", lab.trial_job(*[planned(lab, outer=way) | {"arm": way} for way in ways], out=str(tmp_path), steps=4))
    for way in ways:
        lines = trace(tmp_path / way / "1", "log")
        for line in lines:
            terms = line["terms"]
            assert line["loss"] == pytest.approx(0.5 * terms["task"] + 0.5 * terms["distillation"], rel=1e-3)
            assert sum(terms[f"omega_{place}"] for place in range(3)) == pytest.approx(1, abs=1e-5)
        moved = [line["step"] for line in lines if abs(line["terms"]["omega_0"] - 1 / 3) > 1e-6]
        assert moved == ([] if way == "fixed" else [3, 4])
    assert len({sha256(tmp_path / way / "1/weights.safetensors") for way in ways}) == 3


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_peers_of_searched_sizes_train_along_and_their_sizes_are_logged(lab, tmp_path):
    here("trial", lab.trial_job(planned(lab, peer_sizes="searched"), out=str(tmp_path)))
    folder = tmp_path / "wml/1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    first = trace(folder, "log")[0]["terms"]
    own = json.loads((lab.data / "facts.json").read_text())["models"]["student"]["parameters"]
    for number, share in ((1, 2 / 3), (2, 1 / 2)):
        assert first[f"peer_{number}_parameters"] == pytest.approx(share * own, rel=0.15)
        assert first[f"peer_{number}_layers"] <= 3 and first[f"peer_{number}_width"] <= 16
    assert first["omega_2"] > 0
    assert sha256(folder / "weights.safetensors") != sha256(lab.trials / "wml/1/weights.safetensors")


@pytest.mark.parametrize("lab", ["image"], indirect=True)
def test_sizes_of_a_cnns_peers_are_not_searched(lab, tmp_path):
    here("trial", lab.trial_job(planned(lab, peer_sizes="searched"), out=str(tmp_path)))
    found = report(tmp_path / "wml/1")
    assert "a resnet has no sizes to search" in found["error"] and "use peer_sizes = same" in found["error"]


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_labels_of_rows_held_back_reach_the_student_only_through_the_weights(lab, tmp_path):
    """Other labels of every tenth row change nothing where the weights stand still, and do where all rows are used."""
    shutil.copytree(lab.data / "seen", tmp_path / "seen")
    rows = load_file(tmp_path / "seen/train.safetensors")
    rows["labels"][9::10] = (rows["labels"][9::10] + 1) % 3
    save_file(rows, tmp_path / "seen/train.safetensors")
    ways = {"still": {"eta": 0.0}, "bilevel": {}, "fixed": {"outer": "fixed"}}
    units = [planned(lab, **changes) | {"arm": way} for way, changes in ways.items()]
    here("trial", lab.trial_job(*units, out=str(tmp_path / "one")))
    here("trial", lab.trial_job(*units, out=str(tmp_path / "other"), seen=str(tmp_path / "seen")))
    ends = {way: [sha256(tmp_path / n / way / "1/weights.safetensors") for n in ("one", "other")] for way in ways}
    assert [way for way, (one, other) in ends.items() if one == other] == ["still"]


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_a_trial_that_was_cut_off_goes_on_to_the_same_bits(lab, tmp_path):
    job = lab.trial_job(mortal(lab, tmp_path, "wml", method=PLAN, teacher=False), **SAVED)
    (tmp_path / "whole/wml").mkdir(parents=True)
    (tmp_path / "whole/wml/cut").touch()  # so that this one is not cut off
    here("trial", job | {"out": str(tmp_path / "whole")})
    cut_off(job | {"out": str(tmp_path / "cut")})
    here("trial", job | {"out": str(tmp_path / "cut")})
    whole, cut = tmp_path / "whole/wml/1", tmp_path / "cut/wml/1"
    assert report(cut)["continued"] == 6
    assert sha256(cut / "weights.safetensors") == sha256(whole / "weights.safetensors")
    assert [line["terms"] for line in trace(cut, "log")] == [line["terms"] for line in trace(whole, "log")]
