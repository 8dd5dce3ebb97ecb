"""The evidence a run left about one track, as its checks need it.

A trial's trace is evidence from inside the process that edited code ran in; observations of
prediction, probe and jobs are evidence from outside.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.plan.plan import Plan, Track
from agent.record.paths import RunPaths
from agent.record.prepared import ModelFacts, Who
from agent.record.probe import Probe
from sandbox import intake
from sandbox.errors import IntakeRejected


class TrialRecord:
    """One trial as the run has it."""

    def __init__(self, folder: Path, trace: str = "trace.jsonl") -> None:
        self.folder = folder
        self.report = _json(folder / "trial.json")
        self.prediction = _json(folder / "test.json")
        try:
            self.lines = intake.read_lines(folder, trace)
        except IntakeRejected:  # no trace, or none that can be read: then nothing was seen
            self.lines = []

    def line(self, event: str) -> dict[str, Any]:
        return next((line for line in self.lines if line.get("event") == event), {})

    def said(self, event: str, name: str) -> dict[str, Any]:
        """An object of the first line of that event; {} where the trial wrote something else there."""
        return _object(self.line(event), name)

    def executed(self, name: str) -> Any:
        """A setting as it was at the start; None where it was not seen, both values where it changed: by
        the end, or where a trial that was cut off continued."""
        start = self.said("start", "executed").get(name)
        ends = (line for line in self.lines if line.get("event") in ("continued", "end"))
        later = [_object(line, "executed").get(name) for line in ends]
        if start is None or None in later or not self.line("end"):
            return None
        other = next((value for value in later if value != start), start)
        return start if other == start else f"{start} at first, {other} at last"

    def ended(self, name: str) -> Any:
        return self.line("end").get(name)

    @property
    def micro(self) -> int:
        """Into how many micro-batches the harness split each batch because memory ran out."""
        return int(self.report.get("micro", 1))

    def losses(self, after: int = 0) -> list[float]:
        """Those logged when more steps than `after` were done."""
        found = [(line.get("step"), line.get("loss")) for line in self.lines if line.get("event") == "log"]
        known = [(at, loss) for at, loss in found if isinstance(at, int) and isinstance(loss, int | float)]
        return [float(loss) for at, loss in known if at > after]

    @property
    def failure(self) -> str:
        if self.report.get("status") != "ok":
            return str(self.report.get("error", "no report"))
        return "" if self.prediction.get("status", "ok") == "ok" else str(self.prediction["error"])

    @property
    def claims(self) -> dict[str, float]:
        """Metrics the training process reported about itself."""
        lines = [line.get("metrics") for line in self.lines if line.get("event") == "claimed"]
        return {k: v for line in lines if isinstance(line, dict) for k, v in line.items() if isinstance(v, int | float)}


@dataclass(frozen=True)
class Evidence:
    """Everything the checks of one track look at."""

    plan: Plan
    track: Track
    arms: dict[str, list[TrialRecord]]
    """Trials in the order of the seeds, of every reference arm and of the proposed one."""
    accuracies: dict[str, list[float]]
    """Measured on the test rows, per arm and seed."""
    majority: float
    """Accuracy of always answering the most frequent class."""
    overlap: int
    """Training, transfer, generated and dev rows that equal a test row."""
    models: dict[Who, ModelFacts]
    """Class and parameters of teacher and student, as they were built before the plan was frozen."""
    answers: dict[str, tuple[int, int]]
    """Split → rows and classes of the predicted logits."""
    teacher: TrialRecord
    """How the teacher was trained, by our own code."""
    teacher_prediction: dict[str, Any]
    assistant: TrialRecord
    """The same of what stands between teacher and student, empty where nothing does."""
    teacher_same: bool
    data_same: bool
    """Whether the prepared rows are still those that the plan was frozen with."""
    probe_file: Path
    scores: tuple[float, ...] = ()
    """Rise of the teacher's loss on dev rows, in nats, without each of its blocks; () where the plan pairs layers
    by a rule."""

    @property
    def proposed(self) -> list[TrialRecord]:
        return self.arms["proposed"]

    @property
    def distils(self) -> bool:
        return self.track.method.card.teacher

    @property
    def critical(self) -> tuple[int, ...]:
        """The teacher's layers of largest score, as many as the plan matches."""
        return most_critical(self.scores, self.track.method.layers)

    @cached_property
    def probe(self) -> Probe | None:
        file = self.probe_file
        return Probe.model_validate(intake.read_json(file.parent, file.name)) if os.path.lexists(file) else None


def most_critical(scores: Sequence[float], k: int) -> tuple[int, ...]:
    """The k layers of largest score, counted from 1, in their order; ties go to the later one."""
    ranked = sorted(range(1, len(scores) + 1), key=lambda layer: (scores[layer - 1], layer))
    return tuple(sorted(ranked[-k:]))


def scores(folder: Path) -> tuple[float, ...]:
    """The score of each block of the teacher whose record is there; () where none was left out."""
    return tuple(_json(folder / "critical.json").get("scores", ()))


def trials(paths: RunPaths, plan: Plan, arm: str, track: str) -> list[TrialRecord]:
    return [TrialRecord(paths.trial(arm, track, seed)) for seed in plan.seeds]


def disagreements(records: Sequence[TrialRecord], accuracies: Sequence[float], seeds: Sequence[int]) -> tuple[str, ...]:
    """Accuracies the training process claimed that differ from the measured ones by half a point or more."""
    found = []
    for record, measured, seed in zip(records, accuracies, seeds, strict=False):
        for name, claimed in record.claims.items():
            if name.endswith("accuracy") and abs(claimed - measured) >= 0.005:
                found.append(f"seed {seed} claimed {name} {claimed:.4f}, measured on the test rows {measured:.4f}")
    return tuple(found)


def _object(line: dict[str, Any], name: str) -> dict[str, Any]:
    found = line.get(name)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
