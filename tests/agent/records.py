"""The trials of two arms with two seeds as a run holds them, honest until changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.plan import planner
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.plan.plan import Plan, Training
from agent.plan.proposal import Proposal
from agent.record.prepared import ModelFacts
from agent.results.evidence import Evidence, TrialRecord
from agent.results.executed import EXECUTED, batches, fields, samples
from agent.results.guards import guards
from agent.results.schema import FieldRow, Guard

PROSE = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
ARMS = ("student_only", "proposed")
MODEL = {"class": "ResNetForImageClassification", "parameters": 19_810, "layers": 3}
FACTS = ModelFacts.model_validate(MODEL | {"spec": {}, "size_mb": 0.1})
GRADIENT = {"least": 0.1, "most": 1.0}
SETTINGS = (*EXECUTED, "compiled")


class Records:
    def __init__(self, folder: Path, method: str = "kd", task: str = "digits", **values: Any) -> None:
        self.folder = folder
        wanted = Options(idea="kd", tasks=(task,), values={"seeds": [0, 1], "method.name": method} | values)
        said = Proposal.model_validate(PROSE | {"method": method})
        self.plan: Plan = freeze(planner.draft(wanted), wanted, said, {})
        self.track = self.plan.tracks[0]
        self.facts: dict[str, Any] = {}
        """Replaces fields of the evidence."""
        for arm in ARMS:
            for seed in (0, 1):
                self.write(arm, seed)
        self._write(folder / "teacher", {}, self.trace(0, self.track.teacher_training, self.track.teacher_steps), {})
        if self.track.assistant:
            self.assist()
        layers = [f"features-{layer}" for layer in range(1, self.track.method.layers + 1)]
        first = "likelihoods" if "likelihoods" in self.track.method.card.uses else "logits"
        self.probe({name: 0.1 for name in [first, *layers][: None if method == "kd_selective" else 1]})

    def write(self, arm: str, seed: int, **change: dict[str, Any] | None) -> None:
        """One trial; `change` updates its files' values, adds a log line, or leaves one out where it is None."""
        lines = self.trace(seed, self.track.training, self.track.steps)
        lines |= {name: {} for name in change if name.startswith("log") and name not in lines}
        files = {
            "trial": {"status": "ok", "initial": f"i{seed}"},
            "test": {
                "status": "ok",
                "initial": f"i{seed}",
                "fingerprint": "f",
                "change": 0.5,
                "furthest": 0.01,
                "size": 1.0,
                "largest": 1.0,
            }
            | MODEL,
        }
        self._write(self.folder / arm / str(seed), files, lines, change)

    def assist(self, **change: dict[str, Any] | None) -> None:
        """What stands between teacher and student, trained as the teacher is."""
        lines = self.trace(0, self.track.teacher_training, self.track.teacher_steps)
        self._write(self.folder / "assistant", {"test": MODEL}, lines, change)

    def _write(self, place: Path, files: dict[str, Any], lines: dict[str, Any], change: dict[str, Any]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        for name, values in files.items():
            (place / f"{name}.json").write_text(json.dumps(values | (change.get(name) or {})))
        kept = {name: values for name, values in lines.items() if change.get(name, {}) is not None}
        texts = [{"event": name.rstrip("0123456789")} | v | (change.get(name) or {}) for name, v in kept.items()]
        (place / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts))

    def trace(self, seed: int, training: Training, steps: int) -> dict[str, dict[str, Any]]:
        executed = {name: getattr(training, name) for name in SETTINGS} | {"dropout": "as built"}
        method, due = self.track.method.model_dump(), samples(self.track, 1)
        start = {"seed": seed, "threads": self.track.threads, "warmup": round(training.warmup * steps)}
        kept = self.track.method.chosen(self.track.task.train_rows)
        rows = {"train": kept, "transfer": self.track.task.transfer_rows}
        return {
            "start": {"executed": executed | start, "weights": f"i{seed}"},
            "log0": {"step": steps - 1, "loss": 2.0},
            "log1": {"step": steps, "loss": 1.0},
            "end": {
                "step": steps,
                "updates": steps,
                "touched": 0,
                "weights": "f",
                "schedule": "",
                "executed": executed,
                "forward_rows": due,
                "samples": due,
                "distinct": rows,
                "largest": self.track.task.input_size,
                "reads": {name: steps for name in method if name != "name"},
                "gradients": {
                    "logits": {"watched": batches(self.track, 1), "reached": batches(self.track, 1)} | GRADIENT,
                    "features": {"watched": 99, "reached": 99} | GRADIENT,
                },
                "terms": {"task": {"count": steps, "zeros": 0}, "distillation": {"count": steps, "zeros": 0}},
            },
        }

    def probe(self, shuffled: dict[str, float], again: float = 0.0) -> None:
        probe = {"schema": 1, "steps": 4, "moved": 1.0, "again": again, "shuffled": shuffled}
        (self.folder / "probe.json").write_text(json.dumps(probe))

    @property
    def evidence(self) -> Evidence:
        task, folder = self.track.task, self.folder / "assistant"
        made = Evidence(
            plan=self.plan,
            track=self.track,
            arms={arm: [TrialRecord(self.folder / arm / str(seed)) for seed in (0, 1)] for arm in ARMS},
            accuracies={"student_only": [0.8, 0.8], "proposed": [0.9, 0.9]},
            majority=0.5,
            overlap=0,
            models={"student": FACTS, "teacher": FACTS, "assistant": FACTS},
            answers={"dev": (task.dev_rows, 2), "test": (task.test_rows, len(task.labels))},
            teacher=TrialRecord(self.folder / "teacher"),
            teacher_prediction=MODEL,
            assistant=TrialRecord(folder),
            teacher_same=True,
            data_same=True,
            probe_file=self.folder / "probe.json",
        )
        return replace(made, **self.facts)

    @property
    def rows(self) -> dict[str, FieldRow]:
        return {row.field: row for row in fields(self.evidence)}

    @property
    def guards(self) -> dict[str, Guard]:
        return {guard.name: guard for guard in guards(self.evidence, tuple(self.rows.values()))}
