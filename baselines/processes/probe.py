"""The probe process: a few steps of an edited train.py as it is, again, and with one teacher output shuffled at a time.

    python -m baselines probe JOB.json …

What is left is one folder of weights per variant, and the weights that all of them start from. The harness compares
them: where shuffling an output over the rows changes nothing, nothing was learned from it. Each variant is a trial in a
process of its own.
"""

import json
from pathlib import Path

import torch

from baselines.data.job_files import ProbeJob
from baselines.methods.initialise import init_from_teacher
from baselines.methods.matching import matched, uses
from baselines.models.build import build
from baselines.processes.trial import run
from baselines.training.cached_teacher import load, scores
from baselines.training.forked import apart
from baselines.training.trainfile import save

START, AS_IS, AGAIN = "start", "as-is", "again"


def probe(job: ProbeJob) -> None:
    """job: a trial job whose units have one seed each; student_layers."""
    torch.set_num_threads(job["threads"])
    for unit in job["units"]:
        out, [seed] = Path(job["out"]) / unit["arm"], unit["seeds"]
        variants = [AS_IS, AGAIN, *_outputs(job, unit)]
        (out / START).mkdir(parents=True, exist_ok=True)
        apart(
            lambda _, unit=unit, seed=seed, out=out: _start(job, unit, seed, out / START), out / START / "trace.jsonl"
        )
        for variant in variants:
            if run(job | {"checkpoints": 0}, unit | {"ablate": variant}, seed, out / variant):
                break
        (out / "probe.json").write_text(json.dumps({"schema": 1, "variants": variants}))


def _start(job: dict, unit: dict, seed: int, folder: Path) -> None:
    """The weights before the first step, as our own code makes them."""
    task = json.loads((Path(job["seen"]) / "task.json").read_text())
    student = build(unit["model"], task, seed)
    if unit["method"].get("init_layers", "none") != "none":
        init_from_teacher(student, load(Path(job["teacher"])), unit["method"]["init_layers"])
    save(student, student, folder)


def _outputs(job: dict, unit: dict) -> list[str]:
    """The teacher outputs that the planned method is made of."""
    if not unit["teacher"]:
        return []
    folder = Path(job["teacher"])
    depth = len(json.loads((folder / "teacher.json").read_text())["widths"])
    pairs = matched(unit["method"], depth, job["student_layers"], scores(folder))
    rows = "likelihoods" if "likelihoods" in uses(unit["method"]) else "logits"
    return [rows, *(f"features-{layer}" for layer in sorted({teacher for _, teacher in pairs}))]
