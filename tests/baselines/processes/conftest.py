"""Both tracks after all four processes, each a real child process. Whatever departs from these runs does the same work
in this process; that both give the same bits is a test of its own.
"""

from pathlib import Path

import pytest

from tests.baselines.lab import ARMS, ONLY, Lab, here, process


@pytest.fixture(scope="session")
def labs(tmp_path_factory) -> dict[str, Lab]:
    """Both tracks after all four processes: every method trained at seed 1, and its answers to the test rows."""
    labs = {kind: Lab(tmp_path_factory.mktemp(kind), kind) for kind in ("text", "image")}
    jobs = {
        "prepare": [lab.prepare_job() for lab in labs.values()],
        "teacher": [lab.teacher_job() for lab in labs.values()],
        "trial": [lab.trial_job(*map(lab.unit, ARMS + ONLY[kind])) for kind, lab in labs.items()],
        "predict": [lab.predict_job(*map(lab.answer, ARMS + ONLY[kind])) for kind, lab in labs.items()],
    }
    for module, both in jobs.items():
        done = process(module, *both)
        assert done.returncode == 0, done.stderr[-3000:]
    return labs


@pytest.fixture(params=["text", "image"])
def lab(request, labs) -> Lab:
    return labs[request.param]


@pytest.fixture
def text(labs) -> Lab:
    return labs["text"]


@pytest.fixture
def train(tmp_path):
    """Trains units in this process; the folder of their results."""

    def run(lab: Lab, *units: dict, **changes) -> Path:
        here("trial", lab.trial_job(*units, out=str(tmp_path / "trials"), **changes))
        return tmp_path / "trials"

    return run
