"""Assembly: results.json from what a run holds on disk. Every number is computed here, from logits and labels."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent import __version__, evidence, runs
from agent.compare import Comparison, Guard, compare, gap, judge
from agent.environment import environment
from agent.errors import TrainingError
from agent.events import EventLog
from agent.gateway import Gateway
from agent.options import Options
from agent.paths import RunPaths
from agent.plan import Plan, Track
from agent.results import (
    Arm,
    Attempt,
    Code,
    Data,
    Isolation,
    Latency,
    Measured,
    Model,
    Results,
    Source,
    Split,
    TrackResult,
    Trial,
    conclude,
    published,
    summaries,
)
from agent.score import Scores, majority_accuracy, score
from sandbox.isolation import Backend
from sandbox.workspace import Workspace

Status = Literal["complete", "partial", "failed", "cancelled"]

REFERENCE_FILES = {
    "student_only": "student_only",
    "vanilla_kd": "kd",
    "pseudo_label": "pseudo_label",
    "all_labels": "student_only",
}
"""Reference arm → its train.py in templates/train/."""


@dataclass(frozen=True)
class Assembly:
    paths: RunPaths
    plan: Plan
    facts: dict[str, Any]
    events: EventLog
    backend: Backend
    gateway: Gateway

    def results(self, state: dict[str, Any], status: Status, reason: str, seconds: dict[str, float]) -> Results:
        measured = Measured(
            schema=1,
            run=self.paths.id,
            status=status,
            status_reason=reason,
            created=runs.read(self.paths)["created"],
            version=__version__,
            idea=self.plan.idea,
            title=self.plan.title,
            source=self._source(),
            plan=self.plan,
            plan_hash=self.plan.hash,
            isolation=self._isolation(),
            environment=environment(),
            tracks=tuple(self._track(track, state) for track in self.plan.tracks),
            attempts=tuple(Attempt(summary=self.plan.tracks[0].method.name, **h) for h in state.get("history", [])),
            code=self._code(state),
            exposures=self._exposures(),
            seconds={name: round(value, 1) for name, value in seconds.items()},
            tokens=self.gateway.tokens,
            command=self._options.command,
            warnings=tuple(json.loads(self.paths.facts.read_text())["warnings"]),
        )
        return conclude(measured)

    def dev_score(self, attempt: int) -> float | None:
        """Mean primary metric on dev rows over tracks and seeds; None when a trial failed."""
        values = []
        for track in self.plan.tracks:
            scores = self._scores(attempt_name(attempt), track, "dev")
            if len(scores) < len(self.plan.seeds):
                return None
            values += [each.metrics[self.plan.primary_metric] for each in scores]
        return sum(values) / len(values)

    # ── one track ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _track(self, track: Track, state: dict[str, Any]) -> TrackResult:
        kept, facts = state.get("kept", 0), self.facts[track.name]
        names = {arm: arm for arm in self.plan.reference_arms} | ({"proposed": attempt_name(kept)} if kept else {})
        records = {arm: evidence.trials(self.paths, self.plan, name, track.name) for arm, name in names.items()}
        scores = {arm: self._scores(name, track, "test") for arm, name in names.items()}
        teacher, majority = self._teacher(track), majority_accuracy(self._labels(track, "test"))
        rows = evidence.fields(self.plan, track, records["proposed"]) if kept else ()
        guards = self._guards(track, records, rows, scores, majority, state) if kept else ()
        return TrackResult(
            name=track.name,
            data=_data(facts),
            teacher=_model(facts, "teacher", track.teacher.checkpoint),
            student=_model(facts, "student", track.student.checkpoint),
            fields=rows,
            arms=tuple(self._arm(arm, track, records[arm], scores[arm], state) for arm in names),
            teacher_scores=teacher.metrics,
            majority_accuracy=majority,
            comparisons=self._comparisons(scores, guards),
            guards=guards,
            gap=gap(teacher, scores["student_only"]) if scores["student_only"] else None,
            published=() if self._options.data else published(track.task.name),
        )

    def _guards(
        self,
        track: Track,
        records: dict[str, list[evidence.TrialRecord]],
        rows: Sequence[Any],
        scores: dict[str, list[Scores]],
        majority: float,
        state: dict[str, Any],
    ) -> tuple[Guard, ...]:
        before = next(e["data"]["weights"][track.name] for e in self.events.read() if e["kind"] == "teachers")
        same = before == weights_hash(state["teachers"][track.name])
        accuracies = {arm: [each.accuracy for each in found] for arm, found in scores.items()}
        overlap = self.facts[track.name]["overlap"]
        return evidence.guards(self.plan, track, records, rows, same, accuracies, majority, overlap)

    def _comparisons(self, scores: dict[str, list[Scores]], guards: Sequence[Guard]) -> tuple[Comparison, ...]:
        """The proposed arm beside every reference arm; each pair on the same rows and seeds."""
        plan, found = self.plan, list[Comparison]()
        for arm in plan.reference_arms:
            if len(scores.get("proposed", [])) == len(scores[arm]) == len(plan.seeds):
                compared = compare("proposed", arm, scores["proposed"], scores[arm])
                found += judge(compared, guards, plan.primary_metric, plan.least_effect, plan.level)
        return tuple(found)

    def _arm(
        self,
        arm: str,
        track: Track,
        records: Sequence[evidence.TrialRecord],
        scores: list[Scores],
        state: dict[str, Any],
    ) -> Arm:
        finished = [seed for seed, record in zip(self.plan.seeds, records, strict=True) if not record.failure]
        done = [record for record in records if not record.failure]
        failures = [f"seed {r.folder.name}: {r.failure[:300]}" for r in records if r.failure]
        return Arm(
            name=arm,
            method=REFERENCE_FILES.get(arm, track.method.name),
            commit=state["commits"][arm] if arm != "proposed" else _kept_commit(state),
            summaries=summaries(scores) if scores else {},
            trials=tuple(Trial(seed=seed, scores=each.metrics) for seed, each in zip(finished, scores, strict=True)),
            latency=_latency(records),
            seconds=sum(record.report.get("seconds", 0.0) for record in records),
            disagreements=evidence.disagreements(done, [each.accuracy for each in scores], finished),
            failures=tuple(failures),
        )

    def _scores(self, arm: str, track: Track, split: str) -> list[Scores]:
        """Scores of every trial that predicted, in the order of the seeds."""
        labels = self._labels(track, split)
        logits = (self.paths.trial(arm, track.name, seed) / f"{split}.safetensors" for seed in self.plan.seeds)
        return [score(_tensor(path, "logits"), labels) for path in logits if path.exists()]

    def _teacher(self, track: Track) -> Scores:
        logits = self.paths.teacher(track.name) / "test.safetensors"
        if not logits.exists():
            raise TrainingError(f"the teacher of {track.name} made no prediction", f"see {self.paths.logs}")
        return score(_tensor(logits, "logits"), self._labels(track, "test"))

    def _labels(self, track: Track, split: str) -> Any:
        return _tensor(Path(self.facts[track.name]["folder"]) / "labels" / f"{split}.safetensors", "labels")

    # ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _options(self) -> Options:
        return Options.from_json(runs.read(self.paths)["options"])

    def _source(self) -> Source:
        source = self.gateway.source
        return Source(name=source.name, model=source.model, took_part=source.name != "recipes")

    def _isolation(self) -> Isolation:
        b = self.backend
        return Isolation(backend=b.name, level=b.level, protects=b.protects, not_protected=b.not_protected)

    def _code(self, state: dict[str, Any]) -> Code:
        workspace, start = Workspace.open(self.paths.repository), state["commits"]["start"]
        updated = _kept_commit(state) if state.get("kept") else start
        diff = workspace.diff(start, updated)
        return Code(original=workspace.read(start), updated=workspace.read(updated), diff=diff)

    def _exposures(self) -> dict[str, int]:
        arms = [e["data"]["arm"] for e in self.events.read() if e["kind"] == "test predicted"]
        return {"proposed" if arm.startswith("attempt-") else arm: arms.count(arm) for arm in arms}


def attempt_name(attempt: int) -> str:
    return f"attempt-{attempt}"


def weights_hash(folder: str) -> str:
    return file_hash(Path(folder) / "weights.safetensors")


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _kept_commit(state: dict[str, Any]) -> str:
    return next(str(entry["commit"]) for entry in state["history"] if entry["number"] == state["kept"])


def _latency(records: Sequence[evidence.TrialRecord]) -> Latency | None:
    for said in (record.prediction for record in records):
        if "inference_ms" in said:
            protocol = (
                f"{said['device']}, {said['threads']} thread(s), one row at a time, 20 warm-up and 200 timed runs"
            )
            return Latency(p50_ms=said["inference_ms"], p95_ms=said["inference_ms_p95"], protocol=protocol)
    return None


def _data(facts: dict[str, Any]) -> Data:
    labels = facts["task"]["labels"]
    splits = {
        name: Split(rows=facts["rows"][name], label_counts=dict(zip(labels, counts, strict=True)))
        for name, counts in facts["label_counts"].items()
    }
    return Data(
        source=facts["source"],
        revision=facts["revision"],
        hash=facts["hash"],
        splits=splits,
        notes=tuple(facts["notes"]),
        overlap=f"{facts['overlap']} (case and blanks ignored)",
    )


def _model(facts: dict[str, Any], who: str, checkpoint: str) -> Model:
    said = facts["models"][who]
    return Model(
        architecture=said["class"], checkpoint=checkpoint, parameters=said["parameters"], size_mb=said["size_mb"]
    )


def _tensor(path: Path, name: str) -> Any:
    from safetensors.numpy import load_file

    return load_file(path)[name]
