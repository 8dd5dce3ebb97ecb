"""The job files: one record per process of a run. The process reads the same fields on its side of the wall.

`out`, the only folder that a process may write to, is in every job file; paths are absolute.
"""

from typing import Any

from agent.frozen import Record


class JobFile(Record):
    """The fields of every job file."""

    out: str = ""

    def text(self) -> str:
        """As the process reads it, without the fields that are not set."""
        return self.model_dump_json(exclude_unset=True, indent=1)

    def plain(self) -> dict[str, Any]:
        """The same as a plain object, without where it is written to."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"out"})


class PrepareJob(JobFile):
    task: dict[str, Any]
    """Its name, and where the user's own rows are: other fields for other sources."""
    sizes: dict[str, int]
    data_seed: int
    label_noise: float
    input_size: int
    batch_size: int
    teacher: dict[str, Any]
    """The fields of a ModelSpec, as the draft has them: the next two too."""
    student: dict[str, Any]
    assistant: dict[str, Any] | None = None
    generator: dict[str, Any] | None = None
    """The fields of a Generator."""
    views: int = 1
    mirror: bool = False


class PaceJob(JobFile):
    seen: str
    model: dict[str, Any]
    """A ModelSpec whose checkpoint is a folder beside the rows, as in the jobs below."""
    training: dict[str, Any]
    """A Training, as in the jobs below: its batches may be split."""
    threads: int
    worth: float
    """Seconds of a step from which compiling is tried."""


class TeacherUnit(Record):
    arm: str
    model: dict[str, Any]
    method: dict[str, Any]
    """The settings in `experiment.method`, as in the jobs below."""
    teacher: bool
    training: dict[str, Any]
    reveal_transfer: bool


class TeacherJob(JobFile):
    file: str
    """Its train.py."""
    seen: str
    labels: str
    """"" where it sees no label that a student may not see."""
    teacher: str | None
    """The folder of the model that it learns from."""
    unit: TeacherUnit
    seed: int
    steps: int
    checkpoints: int
    threads: int
    method: dict[str, Any]
    """The settings of the method whose students it teaches: they decide which outputs are cached."""
    student_layers: int
    feature_cache: int
    """Bytes that cached features may take at most."""
    dev: dict[str, str]
    """Inputs and labels of the dev rows, where layers are scored on them."""


class TrialUnit(Record):
    arm: str
    file: str
    commit: str
    model: dict[str, Any]
    training: dict[str, Any]
    method: dict[str, Any]
    teacher: bool
    reveal_transfer: bool
    generated: bool
    seeds: tuple[int | str, ...]


class TrialJob(JobFile):
    seen: str
    labels: str
    teacher: str
    units: tuple[TrialUnit, ...]
    steps: int
    checkpoints: int
    threads: int
    versions: dict[str, str]


class ProbeJob(TrialJob):
    student_layers: int


class PredictUnit(Record):
    name: str
    model: dict[str, Any]
    weights: str
    seed: int
    init_layers: str | tuple[int, ...]
    teacher: str
    latency: bool


class PredictJob(JobFile):
    task: str
    inputs: str
    units: tuple[PredictUnit, ...]
    threads: int
