"""The job files that processes are started on: one record each, the same fields as the harness writes.

`out` is the only folder that a process may write to; paths are absolute. A model is a spec: architecture, sizes and
perhaps a checkpoint. A file with other fields is refused before anything is done: the two sides are of one version.
"""

import json
from pathlib import Path
from typing import NotRequired, TypedDict, get_type_hints

from baselines.errors import BaselineError


class PrepareJob(TypedDict):
    out: str
    task: dict
    """Its name, and where the user's own rows are."""
    sizes: dict[str, int]
    data_seed: int
    label_noise: float
    input_size: int
    batch_size: int
    teacher: dict
    student: dict
    assistant: NotRequired[dict]
    generator: NotRequired[dict]
    views: NotRequired[int]
    mirror: NotRequired[bool]


class PaceJob(TypedDict):
    out: str
    seen: str
    model: dict
    training: dict
    threads: int
    worth: float
    """Seconds of a step from which compiling is tried."""


class TeacherUnit(TypedDict):
    arm: str
    model: dict
    method: dict
    teacher: bool
    training: dict
    reveal_transfer: bool


class TeacherJob(TypedDict):
    out: str
    file: str
    """Its train.py."""
    seen: str
    labels: str
    teacher: str | None
    unit: TeacherUnit
    seed: int
    steps: int
    checkpoints: int
    threads: int
    method: dict
    student_layers: int
    feature_cache: int
    """Bytes."""
    dev: dict[str, str]


class TrialUnit(TypedDict):
    arm: str
    file: str
    commit: str
    model: dict
    training: dict
    method: dict
    teacher: bool
    reveal_transfer: bool
    generated: bool
    seeds: list[int]


class TrialJob(TypedDict):
    out: str
    seen: str
    labels: str
    teacher: str
    units: list[TrialUnit]
    steps: int
    checkpoints: int
    threads: int
    versions: dict[str, str]


class ProbeJob(TrialJob):
    student_layers: int


class PredictUnit(TypedDict):
    name: str
    model: dict
    weights: str
    seed: int
    init_layers: str | list[int]
    teacher: str
    latency: bool


class PredictJob(TypedDict):
    out: str
    task: str
    inputs: str
    units: list[PredictUnit]
    threads: int


JOBS: dict[str, type] = {
    "prepare": PrepareJob,
    "pace": PaceJob,
    "teacher": TeacherJob,
    "trial": TrialJob,
    "probe": ProbeJob,
    "predict": PredictJob,
}
UNITS: dict[str, tuple[str, type]] = {
    "teacher": ("unit", TeacherUnit),
    "trial": ("units", TrialUnit),
    "probe": ("units", TrialUnit),
    "predict": ("units", PredictUnit),
}
"""Process → the field of its job that holds units, and what each is."""


def read(process: str, path: Path) -> dict:
    """The job in a file, a record of `JOBS`. Raises BaselineError where its fields are not those of the record."""
    job = json.loads(path.read_text())
    _check(job, JOBS[process], str(path))
    if process in UNITS:
        field, record = UNITS[process]
        for unit in [job[field]] if isinstance(job[field], dict) else job[field]:
            _check(unit, record, f"{path}: {field}")
    return job


def _check(found: dict, record: type, where: str) -> None:
    """TypedDicts know at run time which of their fields are required."""
    unknown, missing = found.keys() - get_type_hints(record).keys(), record.__required_keys__ - found.keys()
    if unknown or missing:
        named = [f"lacks {name}" for name in sorted(missing)] + [f"has an unknown {name}" for name in sorted(unknown)]
        raise BaselineError(f"{where} {', '.join(named)}", "it was written by a different version: start the run again")
