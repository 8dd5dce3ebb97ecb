"""What stands on both sides of the wall between the agent and the training processes is the same on both.

Neither side may import the other, so a few values and rules are written twice; here each pair is held together.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import Trainer

from agent.frozen import Record
from agent.jobs.job_files import (
    PaceJob,
    PredictJob,
    PredictUnit,
    PrepareJob,
    ProbeJob,
    TeacherJob,
    TeacherUnit,
    TrialJob,
    TrialUnit,
)
from agent.jobs.runner import ProcessName
from agent.plan import families as agent_families
from agent.plan.settings import declared
from agent.results import evidence, guards
from agent.results.executed import samples
from baselines.data import job_files
from baselines.errors import BaselineError
from baselines.methods import critical, layer_map, selective
from baselines.models import families as baseline_families
from baselines.training import cached_teacher
from baselines.training.experiment import Experiment
from tests.agent.records import Records


def test_a_gradient_of_features_is_watched_as_often_as_the_guard_expects() -> None:
    assert guards.WATCH_EVERY == cached_teacher.WATCH_EVERY


@pytest.mark.parametrize(("setting", "choices"), [("layer_map", layer_map.LayerMap), ("norm", selective.Norm)])
def test_a_setting_can_be_what_its_loss_takes(setting: str, choices: object) -> None:
    assert declared()[setting].choices == get_args(choices)


@given(scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12), k=st.integers(1, 12))
def test_the_most_critical_layers_are_chosen_by_one_rule(scores: list[float], k: int) -> None:
    assert evidence.most_critical(scores, k) == critical.most_critical(scores, k)


class Counted(nn.Linear):
    """Counts the rows that pass through it."""

    rows = 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.rows += len(x)
        return {"loss": super().forward(x).square().mean() + 0 * labels.sum()}


@pytest.mark.parametrize("epochs", [1, 1.5, 2.25])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize(("train", "transfer", "size"), [(10, 26, 16), (16, 20, 16), (33, 0, 8), (5, 0, 8)])
def test_trainer_shows_as_many_rows_as_the_plan_foresees(
    tmp_path: Path, train: int, transfer: int, size: int, accumulation: int, epochs: float
) -> None:
    wanted = {"sizes.train_rows": train, "sizes.transfer_rows": transfer, "training.batch_size": size}
    wanted |= {"training.accumulation": accumulation, "training.epochs": epochs}
    track = Records(tmp_path / "run", **wanted).track
    rows = [{"x": torch.ones(2), "labels": torch.zeros(1)} for _ in range(train + transfer)]
    trial = SimpleNamespace(
        _training=track.training.model_dump(), steps=track.steps, seed=0, out=tmp_path, train_dataset=rows[:train],
        _checkpoints=0,
    )  # fmt: skip
    model = Counted(2, 1)
    Trainer(model=model, args=Experiment.training_arguments(trial), train_dataset=rows).train()
    assert model.rows == samples(track, 1)


def test_both_sides_read_the_same_facts_of_every_family() -> None:
    agents, ours = agent_families.families(), baseline_families.families()
    assert [*agents] == [*ours]
    for name, family in agents.items():
        facts = family.model_dump(include={"kind", "layout", "layers", "starts_from"})
        assert facts == {fact: getattr(ours[name], fact) for fact in facts}


def test_a_family_starts_from_families_that_there_are_and_that_have_its_parts() -> None:
    ours = baseline_families.families()
    for family in ours.values():
        for other in family.starts_from:
            assert family.parts.keys() == ours[other].parts.keys() and family.shape.keys() == ours[other].shape.keys()


@pytest.mark.parametrize("process", get_args(ProcessName))
def test_a_job_file_has_the_fields_that_its_process_reads(process: str) -> None:
    written = {"prepare": PrepareJob, "pace": PaceJob, "teacher": TeacherJob, "trial": TrialJob}
    written |= {"probe": ProbeJob, "predict": PredictJob}
    _same_fields(written[process], job_files.JOBS[process])
    units = {"teacher": TeacherUnit, "trial": TrialUnit, "probe": TrialUnit, "predict": PredictUnit}
    assert units.keys() == job_files.UNITS.keys()
    if process in units:
        _same_fields(units[process], job_files.UNITS[process][1])


def _same_fields(written: type[Record], read: type) -> None:
    """`out` is put in last, so that a job has the same key wherever it is written to."""
    fields = written.model_fields
    assert fields.keys() == get_type_hints(read).keys()
    required = {name for name, field in fields.items() if field.is_required()} | fields.keys() & {"out"}
    assert required == read.__required_keys__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "has an unknown colour"),
        ({"threads": None}, "lacks threads"),
        ({"units": [{"arm": "kd"}]}, "units lacks commit, lacks file"),
    ],
)
def test_a_job_file_of_a_different_version_is_refused(tmp_path: Path, change: dict, problem: str) -> None:
    job = dict.fromkeys(job_files.TrialJob.__required_keys__, "") | {"units": []} | change
    path = tmp_path / "job-0.json"
    path.write_text(json.dumps({name: value for name, value in job.items() if value is not None}))
    with pytest.raises(BaselineError, match=problem):
        job_files.read("trial", path)
