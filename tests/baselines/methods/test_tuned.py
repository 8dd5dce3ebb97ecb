"""Tuning: the best of the grid on rows that were not trained on, and a student that knows nothing of it."""

import warnings

import pytest
import torch

from baselines.methods.held_back import held_back
from baselines.methods.tuned import Cell, Choice, Score, Trials, border, choose, grid, tune
from baselines.training.experiment import Experiment
from tests.baselines.lab import STEPS, sha256, trace
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained

SETTINGS = {"temperatures": (1.0, 2.0, 4.0), "alphas": (0.1, 0.5), "tuning": 0.5}
CELLS = grid(SETTINGS["temperatures"], SETTINGS["alphas"])


def scores(*accuracies):
    return {cell: Score(accuracy, -1.0) for cell, accuracy in zip(CELLS, accuracies, strict=True)}


def test_the_choice_scores_no_less_than_any_cell():
    """PI-1."""
    found = scores(0.5, 0.6, 0.7, 0.9, 0.2, 0.8)
    with pytest.warns(UserWarning, match="best alpha is 0.5"):
        choice = choose(found)
    assert (choice.temperature, choice.alpha) == CELLS[3] == (2.0, 0.5)
    assert all(choice.best >= score for score in found.values())


def test_of_two_equal_accuracies_the_surer_one_is_chosen():
    cells = grid((1.0, 2.0, 3.0), (0.3, 0.5, 0.7))
    found = {cell: Score(0.8, -1.0) for cell in cells} | {Cell(2.0, 0.5): Score(0.8, -0.4)}
    assert choose(found)[:2] == (2.0, 0.5)


def test_a_choice_on_the_border_is_warned_about_unless_nothing_lies_beyond_it():
    with pytest.warns(UserWarning) as said:
        choose(scores(0.9, 0, 0, 0, 0, 0))
    assert [str(each.message) for each in said] == [
        "the best temperature is 1, the last of its grid: extend the grid",
        "the best alpha is 0.1, the last of its grid: extend the grid",
    ]
    assert border(Cell(2.0, 0.5), grid((1.0, 2.0, 3.0), (0.3, 0.5, 0.7))) == {}
    assert border(Cell(2.0, 1.0), grid((1.0, 2.0, 3.0), (0.3, 0.5, 1.0))) == {}  # alpha ends there
    assert border(Cell(2.0, 0.5), grid((2.0,), (0.5,))) == {}


def test_every_cell_and_its_accuracy_have_a_name_to_log():
    choice = Choice(2.0, 0.5, scores(0, 0.25, 0, 0.5, 0, 0))
    assert len(choice.terms()) == 6 and choice.terms()["accuracy_T2_alpha0.5"] == 0.5


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_finished_file_trains_with_what_did_best_and_logs_the_whole_grid(lab, tmp_path):
    folder = trained(lab, "kd_tuned", SETTINGS, tmp_path)
    first, *others = (line["terms"] for line in trace(folder, "log"))
    grid_scores = {name: value for name, value in first.items() if name.startswith("accuracy_")}
    chosen = f"accuracy_T{first['temperature']:g}_alpha{first['alpha']:g}"
    assert len(grid_scores) == 6 and grid_scores[chosen] == max(grid_scores.values())
    assert all(set(terms) == {"task", "distillation", "temperature", "alpha"} for terms in others)
    assert_logged(folder, lambda t: (1 - t["alpha"]) * t["task"] + t["alpha"] * t["distillation"], {"task"})


@pytest.mark.slow
def test_tuning_leaves_student_counts_and_random_numbers_as_they_were(lab, tmp_path):
    """A grid of one cell: the trial is then vanilla distillation, to the bit."""
    one = {"temperatures": (2.0,), "alphas": (0.5,), "tuning": 1.0}
    tuned = trained(lab, "kd_tuned", one, tmp_path)
    vanilla = trained(lab, "kd", {"temperature": 2.0, "alpha": 0.5}, tmp_path)
    assert sha256(tuned / "weights.safetensors") == sha256(vanilla / "weights.safetensors")
    [ours], [theirs] = (trace(folder, "end") for folder in (tuned, vanilla))
    assert ours["step"] == STEPS and set(ours["reads"]) == set(SETTINGS)
    for name in ("forward_rows", "samples", "distinct", "gradients", "teacher", "updates", "touched"):
        assert ours[name] == theirs[name]


@pytest.mark.slow
def test_rows_that_judge_are_not_trained_on_and_tuning_again_finds_the_same(lab, tmp_path):
    job, unit = lab.trial_job(), lab.unit("kd_tuned", method={"name": "kd_tuned"} | SETTINGS)
    with (tmp_path / "trace").open("w") as stream:
        experiment = Experiment(job, unit, 1, tmp_path, stream)
        with warnings.catch_warnings(action="ignore"):
            cells = grid(SETTINGS["temperatures"], SETTINGS["alphas"])
            assert tune(experiment, cells, 0.5) == tune(experiment, cells, 0.5)
        trials = Trials(experiment, 100)
    trained, judged = ({*torch.cat([b["ids"] for b in part]).tolist()} for part in (trials.batches, trials.judges))
    held = held_back(torch.as_tensor(experiment.train_dataset.labels)).nonzero()[:, 0].tolist()
    assert judged == {*held} and trained == {*range(32 + 64)} - judged
