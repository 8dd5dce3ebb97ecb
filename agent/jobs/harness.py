"""The jobs of a run: each process reads a job file, sees only what it needs, and its files count only where they pass
the intake.

| process  | sees                                                | gives back                  | file          |
|----------|-----------------------------------------------------|-----------------------------|---------------|
| prepare  | the source of the data                              | rows, facts                 | data.py       |
| pace     | training rows and their labels                      | what a step takes           | pace.py       |
| teacher  | training rows and all their labels                  | weights, cached outputs     | teachers.py   |
| trial    | training rows, labels a student may see, the cache  | weights, trace              | trials.py     |
| probe    | the same, for a few steps                           | weights of every variant    | pilot.py      |
| predict  | a student's weights, inputs of one split            | logits                      | prediction.py |
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from agent.cache.trials import TrialStore
from agent.jobs.arm import Arm
from agent.jobs.checked import Checked
from agent.jobs.data import Data, keep_labels
from agent.jobs.pace import Pacing
from agent.jobs.pilot import Pilot
from agent.jobs.prediction import Prediction
from agent.jobs.runner import Runner
from agent.jobs.shard_job import Inputs
from agent.jobs.teachers import Teachers, keep_teachers, teacher_hashes
from agent.jobs.trials import Trials
from agent.plan.draft import TrackDraft
from agent.plan.plan import Plan, Track
from agent.record.pace import Pace
from agent.record.prepared import Prepared
from sandbox.folder import remove


class Jobs(Protocol):
    """What a run asks for, in the order of a run. Every verb is idempotent: finished work is kept.

    `prepared` and `teachers` are per track; a teacher is named by its folder. An engine that runs jobs elsewhere takes
    the runner's place: a job is a folder in, a folder out and one command line, named by process, arm, track and seed.
    """

    @property
    def remade(self) -> Sequence[str]:
        """Cache entries that did not match their hashes, and were rebuilt."""

    def prepare(
        self, tracks: Mapping[str, TrackDraft], sources: Mapping[str, dict[str, object]]
    ) -> dict[str, Prepared]:
        """Rows and facts from a draft's settings and each track's source. Raises DataError."""

    def paces(self, tracks: Sequence[Track], prepared: Mapping[str, Prepared]) -> dict[str, Pace]:
        """What a step of each track's student takes as it is and compiled."""

    def keep_labels(self, prepared: Mapping[str, Prepared]) -> None:
        """Copies of the dev and test labels, in the run."""

    def hold(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> None:
        """Before a run continues: what it took from the cache is unchanged, or is rebuilt. `train_file` is the
        teachers', or "" where none was trained yet. Raises DataError where the rows have changed."""

    def teachers(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> dict[str, str]:
        """Each track's teacher folder."""

    def weights(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> dict[str, str]:
        """The hash of each track's teacher's weights."""

    def keep_teachers(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> None:
        """Copies the teachers' traces into the run."""

    def train(self, plan: Plan, arms: Sequence[Arm], inputs: Inputs) -> None:
        """Every trial of the arms."""

    def pilot(self, plan: Plan, arm: Arm, inputs: Inputs, steps: int) -> str:
        """A few steps of an arm on every track; why it failed, or ""."""

    def predict(self, plan: Plan, arms: Sequence[str], inputs: Inputs, split: str) -> None:
        """Logits of every finished trial of the arms on a split."""


class Harness:
    """The jobs of a run, started on this machine."""

    def __init__(self, runner: Runner, store: TrialStore | None) -> None:
        """`store` is where trials of reference arms are taken from and kept; a replay has none."""
        self.runner = runner
        self._checked = Checked(runner.progress)
        self._data = Data(runner, self._checked)
        self._pacing = Pacing(runner, self._checked)
        self._teachers = Teachers(runner, self._checked)
        self._trials = Trials(runner, self._checked, store)
        self._pilot = Pilot(runner)
        self._prediction = Prediction(runner)

    @property
    def remade(self) -> Sequence[str]:
        return self._checked.remade

    def prepare(
        self, tracks: Mapping[str, TrackDraft], sources: Mapping[str, dict[str, object]]
    ) -> dict[str, Prepared]:
        return self._data.prepare(tracks, sources)

    def paces(self, tracks: Sequence[Track], prepared: Mapping[str, Prepared]) -> dict[str, Pace]:
        return self._pacing.measure(tracks, prepared)

    def keep_labels(self, prepared: Mapping[str, Prepared]) -> None:
        keep_labels(self.runner.paths, prepared)

    def hold(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> None:
        before = len(self.remade)
        self._data.hold(prepared)
        if train_file:
            self._teachers.hold(plan, prepared, train_file)
        if len(self.remade) > before:  # whoever was cut off may have left a checkpoint of what was changed
            for left in self.runner.paths.scratch.iterdir():
                remove(left) if left.is_dir() else left.unlink()

    def teachers(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> dict[str, str]:
        return self._teachers.train(plan, prepared, train_file)

    def weights(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> dict[str, str]:
        return teacher_hashes(plan, prepared, teachers)

    def keep_teachers(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> None:
        keep_teachers(self.runner.paths, plan, prepared, teachers)

    def train(self, plan: Plan, arms: Sequence[Arm], inputs: Inputs) -> None:
        self._trials.train(plan, arms, inputs)

    def pilot(self, plan: Plan, arm: Arm, inputs: Inputs, steps: int) -> str:
        return self._pilot.run(plan, arm, inputs, steps)

    def predict(self, plan: Plan, arms: Sequence[str], inputs: Inputs, split: str) -> None:
        self._prediction.run(plan, arms, inputs, split)
