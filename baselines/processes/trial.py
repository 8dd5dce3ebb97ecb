"""The trial process: runs train.py for one or more arms of a track, seed by seed.

    python -m baselines trial JOB.json …

This is where edited code runs, so it sees no test row and no label a student may not have. What it leaves behind, per
arm and seed: `weights.safetensors`, `trace.jsonl` and `trial.json`, written last. None of it is believed: the metrics
come from the weights, in another process.

Imports are paid once, then each trial runs in a copy of this process (fork), so that none inherits what an earlier one
left in memory. A trial that was cut off continues from its newest complete checkpoint (baselines.training.checkpoints).
"""

import errno
import fcntl
import json
import shutil
import signal
import time
import traceback
from pathlib import Path
from typing import TextIO

import torch
from transformers import Trainer  # noqa: F401 (every train.py needs it; it is loaded when first named, in each copy)

from baselines.data.job_files import TrialJob
from baselines.errors import BaselineError
from baselines.training.experiment import Experiment
from baselines.training.forked import apart
from baselines.training.trainfile import import_file, save

KILLERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
"""Signals by which somebody else ends a trial: a system whose memory runs out, a person."""


def trials(job: TrialJob) -> None:
    """job: out, seen, labels, teacher, steps, checkpoints, threads, units [{arm, file, model, training, method, teacher
    (whether it has one), reveal_transfer, generated (whether it learns from generated rows), seeds}]."""
    torch.set_num_threads(job["threads"])
    with (Path(job["out"]) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process whose harness was killed may still be at work here
        for unit in job["units"]:
            for seed in unit["seeds"]:
                folder = Path(job["out"]) / unit["arm"] / str(seed)
                if not _finished(folder) and run(job, unit, seed, folder) not in ("", "killed"):
                    break  # the other seeds of this arm would fail the same way


def run(job: dict, unit: dict, seed: int, folder: Path) -> str:
    """One trial. A failure of the edited code is a result, kept with its traceback; returns its kind, "" for none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.json").unlink(missing_ok=True)
    code = apart(lambda trace: _run(job, unit, seed, folder, trace), folder / "trace.jsonl")
    if not (folder / "trial.json").exists():
        what = f"signal {-code}" if code < 0 else f"exit code {code}"
        ended = {"kind": "killed" if -code in KILLERS else "crash", "error": f"the trial's process ended with {what}"}
        _write(
            folder,
            {"schema": 1, "arm": unit["arm"], "seed": seed, "status": "failed", "seconds": 0.0, "traceback": ""}
            | ended,
        )
    why = json.loads((folder / "trial.json").read_text()).get("kind", "")
    if why != "killed":  # else it goes on from its checkpoint
        shutil.rmtree(folder / "trainer", ignore_errors=True)
    return why


def _finished(folder: Path) -> bool:
    """Whether a process that was cut off has done this trial. One that failed is tried again: what ended the process
    may have ended the trial a moment before."""
    report = folder / "trial.json"
    return report.exists() and json.loads(report.read_text())["status"] == "ok"


def _run(job: dict, unit: dict, seed: int, folder: Path, trace: TextIO) -> None:
    started = time.monotonic()
    report = {"schema": 1, "arm": unit["arm"], "seed": seed, "status": "ok"}
    experiment = None
    try:
        experiment = Experiment(job, unit, seed, folder, trace)
        report |= {"initial": experiment.initial, "build_seconds": time.monotonic() - started}
        model = import_file(Path(unit["file"])).train(experiment)
        report |= {"train_seconds": time.monotonic() - started - report["build_seconds"]}
        save(model, experiment.student, folder)
    except (Exception, SystemExit) as error:  # whatever edited code may raise
        hint = f" ({error.hint})" if isinstance(error, BaselineError) else ""
        said = f"{type(error).__name__}: {error}{hint}"[:2000]
        report |= {"status": "failed", "kind": kind(error), "error": said, "traceback": _tail()}
    if experiment and experiment.continued:
        report |= {"continued": experiment.continued}
    seconds = experiment.trace.seconds if experiment else time.monotonic() - started  # those before it was cut off too
    _write(folder, report | {"seconds": seconds})


def kind(error: BaseException) -> str:
    """The reason why a trial stopped: "diverged", "memory", "disk" for a limit, "space" for a full disk, or "crash"."""
    if isinstance(error, FloatingPointError):
        return "diverged"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "space"
    if "No usable temporary directory" in str(error) or "No space left on device" in str(error):
        return "space"  # the second: libraries in C++ raise errors of their own
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "disk"
    return "crash"


def _write(folder: Path, report: dict) -> None:
    """A reader never meets half a report."""
    (folder / "trial.part").write_text(json.dumps(report))
    (folder / "trial.part").rename(folder / "trial.json")


def _tail() -> str:
    return "\n".join(traceback.format_exc().splitlines()[-25:])[-8000:]
