"""Every file of a run, by name. Nobody else joins strings."""

import re
from dataclasses import dataclass
from pathlib import Path

from agent.errors import DataError

STEP = r"\w[\w.+=,@-]{0,127}"
"""One step of a path in a run: a track is called as the user's file is, in the letters of any language."""


def step(name: str) -> str:
    """A name that a record gives, as part of a path. Raises DataError for one that could lead elsewhere."""
    if not re.fullmatch(STEP, name):
        raise DataError(f"{name!r:.80} cannot be the name of a file", "the record was changed: restore it")
    return name


class Inside:
    """A file or a folder in the run's folder, by its name there."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunPaths", owner: type) -> Path:
        return run.folder / self.name


@dataclass(frozen=True)
class RunPaths:
    folder: Path

    run = Inside("run.json")
    """Status, versions, environment, options, parent."""
    idea = Inside("idea.md")
    plan = Inside("plan.json")
    facts = Inside("facts.json")
    """Facts of the prepared data, per track."""
    events = Inside("events.jsonl")
    conversation = Inside("conversation")
    labels = Inside("labels")
    """The labels that dev and test rows are scored against; the cache they came from may be deleted."""
    repository = Inside("repository")
    results = Inside("results.json")
    report = Inside("report.md")
    replay = Inside("replay.json")
    """How closely this run matches the one it replays, where it replays one."""
    replay_report = Inside("replay-report.md")
    review = Inside("review.json")
    """Reviews of the plan and the report."""
    packages = Inside("requirements.txt")
    """The version of every installed package, as pip takes them."""
    state = Inside("state.sqlite")
    """LangGraph's checkpoints."""
    clock = Inside("clock.json")
    """Seconds spent so far, over every process that worked on the run."""
    lock = Inside("lock")
    logs = Inside("logs")
    jobs = Inside("jobs")
    """The job file of each process, and the train.py it ran."""
    scratch = Inside("scratch")
    """Where sandboxed processes write; files worth keeping are taken in from there."""

    @property
    def id(self) -> str:
        return self.folder.name

    def data(self, track: str) -> Path:
        """The prepared rows, where an archive brought them."""
        return self.folder / "data" / step(track)

    def label_file(self, track: str, split: str) -> Path:
        return self.labels / step(track) / f"{split}.safetensors"

    def trial(self, arm: str, track: str, seed: int) -> Path:
        return self.folder / "trials" / step(arm) / step(track) / str(seed)

    def probe(self, arm: str, track: str) -> Path:
        """What shuffling the teacher's outputs changed in a few steps of an arm."""
        return self.folder / "trials" / step(arm) / step(track) / "probe.json"

    def outcome(self, job: str) -> Path:
        """How a process ended: status, seconds, memory."""
        return self.jobs / step(job) / "outcome.json"

    def teacher(self, track: str) -> Path:
        """The teacher's trace and predictions; its weights stay in the cache."""
        return self.folder / "trials" / "teacher" / step(track)

    def assistant(self, track: str) -> Path:
        """The same of the assistant that stands between teacher and student, where there is one."""
        return self.folder / "trials" / "assistant" / step(track)


def attempt_name(attempt: int) -> str:
    """The arm of an attempt, as its trials and its commit are called."""
    return f"attempt-{attempt}"


def is_attempt(arm: str) -> bool:
    return arm.startswith("attempt-")
