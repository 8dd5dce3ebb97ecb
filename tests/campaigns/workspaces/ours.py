"""How kdagent reads the same workspaces."""

import os
import sys
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from agent.results.score import score
from sandbox import folder, intake
from sandbox.isolation import supervisor
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.process import Process
from sandbox.schema import choice, integer, number, record, tagged, text
from sandbox.tensors import Tensor
from sandbox.workspace import Workspace
from tests.campaigns.workspaces.place import LABELS, Place

CAP = 1 << 30
TRIAL = record(
    {
        "schema": integer(1, 1),
        "arm": text(100),
        "seed": integer(0, 1 << 32),
        "status": choice("ok", "failed"),
        "seconds": number(0, 1e7),
        "error?": text(2000),
        "traceback?": text(10_000),
    }
)
_LINE = {"event": text(20), "seconds": number(0, 1e7)}
TRACE = tagged(
    "event",
    {
        "log": record(_LINE | {"loss": number(-1e9, 1e9)}),
        "end": record(_LINE | {"step": integer(0, 1 << 40)}),
    },
)


def take_in(place: Place) -> str:
    """What the harness does with a trial's folder."""
    report = intake.read_json(place.out, "trial.json", schema=TRIAL)
    intake.read_lines(place.out, "trace.jsonl", schema=TRACE)
    intake.copy(place.out, "trace.jsonl", place.record / "trace.jsonl", CAP)
    if report["status"] == "ok":
        intake.read_tensors(place.out, "weights.safetensors", CAP, target=place.record / "weights.safetensors")
        take_in_logits(place)
    return str(report["status"])


def take_in_a_folder(place: Place) -> str:
    return str(intake.read_json(place.out, "kd/trial.json", schema=TRIAL)["status"])


def take_in_logits(place: Place) -> Any:
    expected = {"logits": Tensor("F32", (len(LABELS), 2))}
    target = place.record / "logits.safetensors"
    intake.read_tensors(place.out, "logits.safetensors", CAP, expected, target)
    return load_file(target)["logits"]


def measure_accuracy(place: Place) -> str:
    return f"accuracy {score(take_in_logits(place), np.array(LABELS)).accuracy}"


def start_the_next_job(place: Place) -> str:
    """The prediction reads what the trial left and writes somewhere else; so does every other job."""
    take_in(place)
    code = "import json, sys; print(json.load(open(sys.argv[1]))['arm'])"
    return _job(place, (sys.executable, "-c", code, str(place.out / "trial.json")))


def show_the_log(place: Place) -> str:
    return _job(place, ("/bin/cat", str(place.out / "train.log")))


def keep_the_edit(place: Place) -> str:
    """The repository is elsewhere and bare; the working folder is the hostile one."""
    take_in(place)
    os.chdir(place.out)
    workspace = Workspace.create(place.record / "repository")
    first = workspace.commit("main", "def train(experiment): ...\n", "one")
    second = workspace.commit("main", "def train(experiment): pass\n", "two", parent=first.id)
    workspace.export(second.id, place.out)
    return f"{len(workspace.diff(first.id, second.id).splitlines())} lines differ"


def remove(place: Place) -> str:
    folder.measure(place.out)
    folder.remove(place.out)
    return "still there" if place.out.exists() else "removed"


def _job(place: Place, argv: tuple[str, ...]) -> str:
    fresh = place.record / "job"
    fresh.mkdir()
    limits = Limits(wall_s=10, memory=1 << 30)
    job = Job(argv, (place.out,), fresh)
    outcome = supervisor.run(job, Process(), limits, place.record / "job.log")
    return f"{outcome.status}: {outcome.tail}"
