"""Finished train.py files trained for a few steps as the harness trains them, in this process."""

from pathlib import Path

import pytest

from tests.baselines.lab import Lab, here, report, trace

BOTH = ("text", "image")


def prepared(root: Path, kind: str) -> Lab:
    """A lab whose rows and whose teacher are there."""
    lab = Lab(root, kind)
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job())
    return lab


def trained(lab: Lab, arm: str, method: dict, out: Path, job: dict | None = None, **changes) -> Path:
    """The folder of one trial of `arm`, which must have gone well; `job` and `changes` are of the job and its unit."""
    unit = lab.unit(arm, method={"name": arm} | method, **changes)
    here("trial", lab.trial_job(unit, out=str(out), **job or {}))
    folder = out / arm / "1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    return folder


def assert_logged(folder: Path, loss, terms: set[str]) -> None:
    """Every line of the log holds these terms and a loss that `loss` makes of them."""
    for line in trace(folder, "log"):
        assert terms <= set(line["terms"])
        assert line["loss"] == pytest.approx(loss(line["terms"]), rel=1e-3)
