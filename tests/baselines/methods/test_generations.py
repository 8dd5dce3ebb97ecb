"""Generations before a born-again student: each is trained whole, and what reaches the student is its predecessor."""

import io
import shutil

import pytest
import torch
from safetensors.numpy import load_file, save_file

from baselines.methods.generations import predecessor
from baselines.training.experiment import Experiment
from tests.baselines.lab import STEPS, TRAINING, Lab, here, report, sha256, trace
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained
from tests.baselines.training.test_checkpoints import SAVED, cut_off
from tests.baselines.training.test_checkpoints import unit as mortal

PLAN = {"name": "born_again", "generations": 3, "temperature": 1.0, "alpha": 0.5}


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory) -> Lab:
    return prepared(tmp_path_factory.mktemp("generations"), request.param)


def student(lab, out, arm="born_again", teacher=False, **changes):
    return trained(lab, arm, PLAN | changes, out, teacher=teacher)


def answers(lab, folder, job=None, **changes):
    """What the student would learn from."""
    unit = lab.unit("born_again", method=PLAN | changes, teacher=False)
    made = Experiment(lab.trial_job(**job or {}), unit, 1, folder, io.StringIO())
    method = made.method
    return predecessor(made, method.generations, method.temperature, method.alpha)


def test_the_finished_file_trains_the_student_that_was_planned_and_no_generation_before_it(lab, tmp_path):
    ours, plain = student(lab, tmp_path), trained(lab, "student_only", {}, tmp_path)
    assert report(ours)["initial"] == report(plain)["initial"] == trace(ours, "start")[0]["weights"]
    end, other = (trace(folder, "end")[0] for folder in (ours, plain))
    assert [end[name] for name in ("forwards", "forward_rows", "touched")] == [STEPS, 16 * STEPS, 0]
    assert end["executed"] == other["executed"] and end["distinct"] == {"train": 32, "transfer": 64}
    assert set(end["reads"]) == {"generations", "alpha", "temperature"}


def test_it_logs_its_loss_and_first_of_all_what_the_generations_before_cost(lab, tmp_path):
    folder = student(lab, tmp_path)
    assert_logged(folder, lambda terms: 0.5 * terms["task"] + 0.5 * terms["distillation"], {"task", "distillation"})
    first, *others = (line["terms"] for line in trace(folder, "log"))
    assert first["earlier_updates"] == 2 * STEPS
    assert first["generation_0_loss"] > 0 and first["generation_1_loss"] > 0
    assert not any("earlier_updates" in terms for terms in others)


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_generations_before_reach_the_student_through_their_answers_alone(lab, tmp_path):
    """With alpha = 0 it is bit for bit the student that labels alone make of the same rows: no draw was used up."""
    one = student(lab, tmp_path / "one", alpha=0.0)
    two = student(lab, tmp_path / "two", alpha=0.0, generations=2)
    labels = student(lab, tmp_path / "kd", arm="kd", teacher=True, alpha=0.0)
    taught = student(lab, tmp_path / "taught")
    found = [sha256(folder / "weights.safetensors") for folder in (one, two, labels, taught)]
    assert len({*found[:3]}) == 1 and found[3] != found[0]


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_first_generation_sees_the_labelled_rows_alone_and_the_second_all(lab, tmp_path):
    shutil.copytree(lab.data / "seen", tmp_path / "seen")
    rows = load_file(tmp_path / "seen/transfer.safetensors")
    rows["tokens"] = rows["tokens"][::-1].copy()
    save_file(rows, tmp_path / "seen/transfer.safetensors")
    other = {"seen": str(tmp_path / "seen")}
    for generations, same in ((2, True), (3, False)):
        ours, theirs = (answers(lab, tmp_path, job, generations=generations)[:32] for job in ({}, other))
        assert torch.equal(ours, theirs) == same


@pytest.mark.parametrize("lab", ["text"], indirect=True)  # BatchNorm sees other batches
def test_batches_split_in_two_add_up_to_the_whole(lab, tmp_path):
    split = TRAINING | {"batch_size": 8, "accumulation": 2}
    model = lab.models["student"] | {"dropout": 0.0}
    found = []
    for name, training in (("whole", TRAINING), ("split", split)):
        unit = lab.unit("born_again", method=PLAN, teacher=False, training=training, model=model)
        made = Experiment(lab.trial_job(), unit, 1, tmp_path / name, io.StringIO())
        found.append(predecessor(made, 2, 1.0, 0.5))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("lab", ["text"], indirect=True)
def test_a_trial_that_was_cut_off_goes_on_to_the_same_bits(lab, tmp_path):
    job = lab.trial_job(mortal(lab, tmp_path, "born_again", method=PLAN, teacher=False), **SAVED)
    whole, cut = (tmp_path / name / "born_again/1" for name in ("whole", "cut"))
    (tmp_path / "whole/born_again").mkdir(parents=True)
    (tmp_path / "whole/born_again/cut").touch()  # so that this one is not cut off
    here("trial", job | {"out": str(tmp_path / "whole")})
    cut_off(job | {"out": str(tmp_path / "cut")})
    here("trial", job | {"out": str(tmp_path / "cut")})
    assert report(cut)["continued"] == 6
    assert sha256(cut / "weights.safetensors") == sha256(whole / "weights.safetensors")
