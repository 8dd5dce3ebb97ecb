"""A run as its record has it: plan, facts, events and files, read and never changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.errors import DataError
from agent.plan.options import Options
from agent.plan.plan import Plan, Track
from agent.record import runs
from agent.record.events import Event, EventLog, Kind
from agent.record.paths import RunPaths, attempt_name
from agent.record.prepared import Prepared, read_facts
from agent.record.runs import RunInfo
from agent.results.schema import Attempt
from agent.results.score import Scores, score


@dataclass(frozen=True)
class RunRecord:
    paths: RunPaths
    plan: Plan
    prepared: dict[str, Prepared]
    """Per track."""
    warnings: tuple[str, ...]
    events: tuple[Event, ...]
    """As they are in the log: each kind has fields of its own."""

    @classmethod
    def read(cls, paths: RunPaths) -> "RunRecord":
        facts = read_facts(paths)
        plan = Plan.model_validate_json(paths.plan.read_text())
        return cls(paths, plan, facts.tracks, facts.warnings, tuple(EventLog(paths.events).read()))

    def said(self, kind: Kind) -> list[dict[str, Any]]:  # any: see Event.data
        """The data of every event of that kind."""
        return [event["data"] for event in self.events if event["kind"] == kind]

    @property
    def observed(self) -> dict[str, Any]:  # any: see Event.data
        """What was seen once, when the test rows were predicted."""
        return self.said("measured")[0]

    @property
    def schema(self) -> Literal[1, 2]:
        """The schema that the results were written in: a record is verified against the text of its time."""
        return 1 if self.observed.get("results", 1) == 1 else 2

    @property
    def commits(self) -> dict[str, str]:
        """The commit of every arm but the proposed one, and of the start."""
        found: dict[str, str] = self.said("workspace")[-1]["commits"]
        return found

    @property
    def history(self) -> list[Attempt]:
        """What was decided about each attempt, in their order."""
        names, method = Attempt.decided_fields(), self.plan.tracks[0].method.name
        return [Attempt(summary=method, **{name: data[name] for name in names}) for data in self.said("decided")]

    @property
    def kept(self) -> Attempt | None:
        """The attempt that became the proposed arm."""
        return next((attempt for attempt in reversed(self.history) if attempt.outcome == "kept"), None)

    @property
    def proposed(self) -> str:
        """The arm of that attempt, or ""."""
        return attempt_name(self.kept.number) if self.kept else ""

    @property
    def run(self) -> RunInfo:
        """run.json."""
        return runs.read(self.paths)

    @property
    def options(self) -> Options:
        return Options.from_json(self.run["options"])

    def labels(self, track: Track, split: str) -> Any:
        """A vector of class numbers."""
        return tensor(self.paths.label_file(track.name, split), "labels")

    def logits(self, arm: str, track: Track, split: str) -> Iterator[Path]:
        """The file of every trial that predicted, in the order of the seeds."""
        files = (self.paths.trial(arm, track.name, seed) / f"{split}.safetensors" for seed in self.plan.seeds)
        return (path for path in files if path.exists())

    def scores(self, arm: str, track: Track, split: str) -> list[Scores]:
        """Of every trial that predicted, in the order of the seeds; one file is in memory at a time."""
        labels = self.labels(track, split)
        return [score(tensor(path, "logits"), labels) for path in self.logits(arm, track, split)]

    def dev_score(self, attempt: int) -> float | None:
        """Mean primary metric on dev rows over tracks and seeds; None when a trial failed."""
        values = []
        for track in self.plan.tracks:
            scores = self.scores(attempt_name(attempt), track, "dev")
            if len(scores) < len(self.plan.seeds):
                return None
            values += [each.metrics[self.plan.primary_metric] for each in scores]
        return sum(values) / len(values)


def tensor(path: Path, name: str) -> Any:
    """Raises DataError for a file that has none of that name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)[name]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read: it has no {name}: {error}", "restore the file") from error


def shape(path: Path, name: str) -> tuple[int, ...]:
    """Of a tensor, from the file's header alone."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return tuple(file.get_slice(name).get_shape())
