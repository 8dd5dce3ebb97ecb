"""Every file of a run, by name. Nobody else joins strings."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def run(self) -> Path:
        """Status, versions, environment, options, parent."""
        return self.folder / "run.json"

    @property
    def idea(self) -> Path:
        return self.folder / "idea.md"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def facts(self) -> Path:
        """What preparing the data found, per track."""
        return self.folder / "facts.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def conversation(self) -> Path:
        return self.folder / "conversation"

    @property
    def labels(self) -> Path:
        """The labels that dev and test rows are scored against; the cache they came from may be deleted."""
        return self.folder / "labels"

    def data(self, track: str) -> Path:
        """The prepared rows, where an archive brought them."""
        return self.folder / "data" / track

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.md"

    @property
    def replay(self) -> Path:
        """How like the run it replays this one is, where it replays one."""
        return self.folder / "replay.json"

    @property
    def replay_report(self) -> Path:
        return self.folder / "replay-report.md"

    @property
    def review(self) -> Path:
        """What people said about the plan and the report."""
        return self.folder / "review.json"

    @property
    def packages(self) -> Path:
        """The version of every installed package, as pip takes them."""
        return self.folder / "requirements.txt"

    @property
    def state(self) -> Path:
        """LangGraph's checkpoints."""
        return self.folder / "state.sqlite"

    @property
    def clock(self) -> Path:
        """Seconds spent so far, over every process that went on with the run."""
        return self.folder / "clock.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def jobs(self) -> Path:
        """What each process was told, and the train.py it ran."""
        return self.folder / "jobs"

    @property
    def scratch(self) -> Path:
        """Where sandboxed processes write; what is worth keeping is taken in from there."""
        return self.folder / "scratch"

    def label_file(self, track: str, split: str) -> Path:
        return self.labels / track / f"{split}.safetensors"

    def trial(self, arm: str, track: str, seed: int) -> Path:
        return self.folder / "trials" / arm / track / str(seed)

    def probe(self, arm: str, track: str) -> Path:
        """What shuffling the teacher's outputs changed in a few steps of an arm."""
        return self.folder / "trials" / arm / track / "probe.json"

    def outcome(self, job: str) -> Path:
        """How a process ended: status, seconds, memory."""
        return self.jobs / job / "outcome.json"

    def teacher(self, track: str) -> Path:
        """The teacher's trace and predictions; its weights stay in the cache."""
        return self.folder / "trials" / "teacher" / track

    def assistant(self, track: str) -> Path:
        """The same of the assistant that stands between teacher and student, where there is one."""
        return self.folder / "trials" / "assistant" / track


def attempt_name(attempt: int) -> str:
    """The arm of an attempt, as its trials and its commit are called."""
    return f"attempt-{attempt}"


def is_attempt(arm: str) -> bool:
    return arm.startswith("attempt-")
