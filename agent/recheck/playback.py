"""A run played again from its record, without training: recorded replies, and what the recorded trials left.

The plan is frozen anew, edits are applied, checked and committed anew, dev rows are scored and attempts decided anew.
What does not follow from the record any more is drift. Nothing is measured: there is no results.json and no report.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from agent.errors import DriftError, NoReplay
from agent.jobs.arm import Arm
from agent.jobs.harness import Harness
from agent.loop.steps import Steps
from agent.plan.plan import Plan
from agent.record.events import EventLog
from agent.record.paths import RunPaths
from agent.results.read import results_of
from agent.results.schema import Results


@dataclass(frozen=True)
class Recollection(Harness):
    """A harness that starts no process: what one would leave is taken from the run that is played again."""

    original: RunPaths

    def prepare(self, tracks: dict[str, dict[str, Any]], sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.original.facts.read_text())["tracks"]
        if list(facts) != list(tracks):
            raise DriftError(f"the plan has the tracks {', '.join(tracks)}, the record has {', '.join(facts)}")
        return facts

    def keep_labels(self, facts: dict[str, Any]) -> None:
        for track in facts:
            for split in ("dev", "test"):
                _copy(self.original.label_file(track, split), self.paths.label_file(track, split))

    def teachers(self, plan: Plan, facts: dict[str, Any], train_file: str) -> dict[str, str]:
        return {track.name: "" for track in plan.tracks}

    def keep_teachers(self, plan: Plan, facts: dict[str, Any], teachers: dict[str, str]) -> dict[str, str]:
        [said] = [event["data"] for event in self._events("teachers")][:1] or [{"weights": {}}]
        return dict(said["weights"])

    def train(
        self, plan: Plan, arms: Sequence[Arm], facts: dict[str, Any], teachers: dict[str, str], ours: bool = False
    ) -> None:
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
            made |= data.get("commits") or {f"attempt-{data['number']}": data["commit"]}
        if made.get(arm.name) != arm.commit:
            raise DriftError(
                f"{arm.name} is commit {arm.commit[:12]}, the record has {made.get(arm.name, 'none')[:12]}"
            )

    def pilot(self, plan: Plan, arm: Arm, facts: dict[str, Any], teachers: dict[str, str], steps: int) -> str:
        said = [e["data"] for e in self._events("piloted") if e["data"]["commit"] == arm.commit]
        if said:
            return str(said[-1]["problem"])
        if any(self.original.trial(arm.name, track.name, plan.seeds[0]).exists() for track in plan.tracks):
            return ""  # it was trained, so it had passed: older records do not say so
        raise DriftError(f"the record has no pilot of {arm.name} at commit {arm.commit[:12]}")

    def predict(
        self, plan: Plan, arms: Sequence[str], facts: dict[str, Any], split: str, teachers: dict[str, str]
    ) -> None:
        """The predictions came with the trials."""

    def _events(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in EventLog(self.original.events).read() if event["kind"] in kinds]


class Rehearsal(Steps):
    """The steps up to the last decision."""

    def time_left(self) -> bool:
        """As it was: how long training took does not come again."""
        decided = self.events.count("decided")
        return not EventLog(self._original.events).count("out of time", decided=decided)

    def measure(self, kept: int, teachers: dict[str, str]) -> None:
        """Nothing was trained, so nothing is measured."""

    def conclude(self) -> Results:
        found = results_of(self._original)
        if not found:
            raise NoReplay(f"run {self._original.id} has no results", "restore its folder")
        return found

    def report(self) -> Path:
        self.events.once("sealed", **self._fresh(""))
        return self.paths.events

    @property
    def _original(self) -> RunPaths:
        assert isinstance(self.harness, Recollection)
        return self.harness.original


def _copy(source: Path, target: Path) -> None:
    """Raises NoReplay where the record lacks it."""
    if not source.is_file() or source.is_symlink():
        raise NoReplay(f"{source} is missing", "restore the run's folder, or replay it at --level full")
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(source, target)
