"""A run played again from its record, without training: recorded replies, and what the recorded trials left.

The plan is frozen, edits are applied, checked and committed, dev rows scored and attempts decided once more.
What does not follow from the record any more is drift. Nothing is measured: there is no results.json and no report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import copyfile

from agent.errors import DriftError, NoReplay
from agent.jobs.arm import Arm
from agent.jobs.shard_job import Inputs
from agent.loop.attempts import Attempts
from agent.loop.conclusion import Conclusion
from agent.loop.steps import Steps
from agent.plan.plan import Plan, Track
from agent.record.events import Event, EventLog, Kind
from agent.record.pace import Pace
from agent.record.paths import RunPaths, attempt_name
from agent.record.prepared import Prepared, read_facts
from agent.results.read import results_of
from agent.results.schema import Results


@dataclass(frozen=True)
class RecordedJobs:
    """The jobs of a run without processes: their files are taken from the run that is played again."""

    original: RunPaths
    paths: RunPaths

    @property
    def remade(self) -> Sequence[str]:
        return ()

    def prepare(
        self, tracks: Mapping[str, dict[str, object]], sources: Mapping[str, dict[str, object]]
    ) -> dict[str, Prepared]:
        """Raises DriftError where the record has different tracks."""
        found = read_facts(self.original).tracks
        if list(found) != list(tracks):
            raise DriftError(f"the plan has the tracks {', '.join(tracks)}, the record has {', '.join(found)}")
        return found

    def paces(self, tracks: Sequence[Track], prepared: Mapping[str, Prepared]) -> dict[str, Pace]:
        """Nothing is measured: what the record has is among the options of the replay."""
        return {}

    def keep_labels(self, prepared: Mapping[str, Prepared]) -> None:
        for track in prepared:
            for split in ("dev", "test"):
                _copy(self.original.label_file(track, split), self.paths.label_file(track, split))

    def hold(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> None:
        """Nothing is taken from the cache."""

    def teachers(self, plan: Plan, prepared: Mapping[str, Prepared], train_file: str) -> dict[str, str]:
        return {track.name: "" for track in plan.tracks}

    def weights(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> dict[str, str]:
        [data] = [event["data"] for event in self._events("teachers")][:1] or [{"weights": {}}]
        return dict(data["weights"])

    def keep_teachers(self, plan: Plan, prepared: Mapping[str, Prepared], teachers: Mapping[str, str]) -> None:
        """Nothing was trained."""

    def train(self, plan: Plan, arms: Sequence[Arm], inputs: Inputs) -> None:
        """Raises DriftError for an arm whose commit is not the recorded one."""
        for arm in arms:
            self._same_commit(arm)
            for track in plan.tracks:
                for seed in plan.seeds:
                    place = self.original.trial(arm.name, track.name, seed)
                    for name in ("trial.json", "dev.safetensors"):
                        if (place / name).exists():
                            _copy(place / name, self.paths.trial(arm.name, track.name, seed) / name)

    def _same_commit(self, arm: Arm) -> None:
        made = dict[str, str]()
        for event in self._events("workspace", "attempt"):
            data = event["data"]
            made |= data.get("commits") or {attempt_name(data.get("number", 0)): data.get("commit", "")}
        if made.get(arm.name) != arm.commit:
            raise DriftError(
                f"{arm.name} is commit {arm.commit[:12]}, the record has {made.get(arm.name, 'none')[:12]}"
            )

    def pilot(self, plan: Plan, arm: Arm, inputs: Inputs, steps: int) -> str:
        piloted = [e["data"] for e in self._events("piloted") if e["data"]["commit"] == arm.commit]
        if piloted:
            return str(piloted[-1]["problem"])
        if any(self.original.trial(arm.name, track.name, plan.seeds[0]).exists() for track in plan.tracks):
            return ""  # it was trained, so it had passed: older records do not say so
        raise DriftError(f"the record has no pilot of {arm.name} at commit {arm.commit[:12]}")

    def predict(self, plan: Plan, arms: Sequence[str], inputs: Inputs, split: str) -> None:
        """The predictions came with the trials."""

    def _events(self, *kinds: Kind) -> list[Event]:
        return [event for event in EventLog(self.original.events).read() if event["kind"] in kinds]


@dataclass(frozen=True)
class RecordedAttempts(Attempts):
    original: RunPaths

    def time_left(self) -> bool:
        """As it was: the time of training does not repeat."""
        decided = self.run.events.count("decided")
        return not EventLog(self.original.events).count("out of time", decided=decided)


@dataclass(frozen=True)
class RecordedConclusion(Conclusion):
    """Nothing was trained, so nothing is measured."""

    original: RunPaths

    def measure(self, kept: int, teachers: dict[str, str]) -> None:
        pass

    def conclude(self) -> Results:
        found = results_of(self.original)
        if not found:
            raise NoReplay(f"run {self.original.id} has no results", "restore its folder")
        return found

    def report(self) -> Path:
        self.run.events.once("sealed", **self.run.fresh(""))
        return self.run.paths.events


@dataclass(frozen=True)
class Rehearsal(Steps):
    """The steps up to the last decision."""

    original: RunPaths

    @cached_property
    def attempts(self) -> Attempts:
        return RecordedAttempts(self.run, self.original)

    @cached_property
    def conclusion(self) -> Conclusion:
        return RecordedConclusion(self.run, self.original)


def _copy(source: Path, target: Path) -> None:
    """Raises NoReplay where the record lacks it."""
    if not source.is_file() or source.is_symlink():
        raise NoReplay(f"{source} is missing", "restore the run's folder, or replay it at --level full")
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(source, target)
