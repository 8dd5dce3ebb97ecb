"""One track in a run's record: scores, evidence, planned beside executed, guards and comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.errors import TrainingError
from agent.plan.arms import ALONE, ARMS
from agent.plan.headroom import more_headroom
from agent.plan.plan import Track
from agent.record.prepared import Prepared, Who
from agent.results import evidence
from agent.results.compare import compare, gap, judge
from agent.results.executed import fields
from agent.results.guards import guards
from agent.results.published import published
from agent.results.run_record import RunRecord, shape, tensor
from agent.results.schema import (
    ArmResult,
    Assistant,
    Comparison,
    Data,
    Gap,
    Guard,
    Latency,
    Model,
    Split,
    TrackResult,
    Trial,
    summaries,
)
from agent.results.score import Scores, majority_accuracy, score


@dataclass(frozen=True)
class TrackRecord:
    record: RunRecord
    track: Track

    @cached_property
    def names(self) -> dict[str, str]:
        """Arm in the report → arm on disk."""
        proposed = {"proposed": self.record.proposed} if self.record.kept else {}
        return {arm: arm for arm in self.record.plan.reference_arms} | proposed

    @cached_property
    def scores(self) -> dict[str, list[Scores]]:
        """Arm → scores on the test rows, in the order of the seeds."""
        return {arm: self.record.scores(name, self.track, "test") for arm, name in self.names.items()}

    @cached_property
    def trials(self) -> dict[str, list[evidence.TrialRecord]]:
        record = self.record
        return {
            arm: evidence.trials(record.paths, record.plan, name, self.track.name) for arm, name in self.names.items()
        }

    def result(self) -> TrackResult:
        record, track, scores = self.record, self.track, self.scores
        prepared, teacher = record.prepared[track.name], self._teacher()
        seen = self._evidence() if record.kept else None
        rows = fields(seen, record.schema) if seen else ()
        checks = guards(seen, rows) if seen else ()
        return TrackResult(
            name=track.name,
            data=_data(prepared),
            teacher=_model(prepared, "teacher", track.teacher.checkpoint),
            student=_model(prepared, "student", track.student.checkpoint),
            assistant=self._assistant() if track.assistant else None,
            fields=rows,
            arms=tuple(self._arm(arm) for arm in self.names),
            teacher_scores=teacher.metrics,
            majority_accuracy=self._majority,
            comparisons=self._comparisons(checks),
            guards=checks,
            gap=_gap(track, teacher, scores[ALONE.name]) if scores[ALONE.name] else None,
            published=() if record.options.own else published(track.task.name),
        )

    @cached_property
    def _majority(self) -> float:
        return majority_accuracy(self.record.labels(self.track, "test"))

    def _evidence(self) -> evidence.Evidence:
        """The evidence that the checks of a track need."""
        record, track = self.record, self.track
        prepared = record.prepared[track.name]
        teacher, before = evidence.TrialRecord(record.paths.teacher(track.name)), record.said("teachers")[0]["weights"]
        return evidence.Evidence(
            plan=record.plan,
            track=track,
            arms=self.trials,
            accuracies={arm: [each.accuracy for each in scores] for arm, scores in self.scores.items()},
            majority=self._majority,
            overlap=prepared.overlap,
            models=prepared.models,
            answers=self._answers(),
            teacher=teacher,
            teacher_prediction=teacher.prediction,
            assistant=evidence.TrialRecord(record.paths.assistant(track.name)),
            teacher_same=before[track.name] == record.observed["teachers"][track.name],
            data_same=prepared.files == record.observed["data"][track.name],
            probe_file=record.paths.probe(record.proposed, track.name),
            scores=evidence.scores(record.paths.teacher(track.name)) if track.method.scored else (),
        )

    def _answers(self) -> dict[str, tuple[int, int]]:
        """Rows and classes that the logits of every proposed trial have, per split."""
        found = dict[str, tuple[int, int]]()
        for split in ("dev", "test"):
            files = self.record.logits(self.record.proposed, self.track, split)
            shapes = {shape(path, "logits") for path in files}
            if len(shapes) == 1:
                rows, classes = shapes.pop()
                found[split] = (rows, classes)
        return found

    def _comparisons(self, checks: Sequence[Guard]) -> tuple[Comparison, ...]:
        """The proposed arm beside every reference arm; each pair on the same rows and seeds."""
        plan, scores, found = self.record.plan, self.scores, list[Comparison]()
        for arm in plan.reference_arms:
            if len(scores.get("proposed", [])) == len(scores[arm]) == len(plan.seeds):
                compared = compare("proposed", arm, scores["proposed"], scores[arm])
                found += judge(compared, checks, plan.primary_metric, plan.least_effect, plan.level)
        return tuple(found)

    def _arm(self, arm: str) -> ArmResult:
        record, records, scores = self.record, self.trials[arm], self.scores[arm]
        finished = [seed for seed, trial in zip(record.plan.seeds, records, strict=True) if not trial.failure]
        done = [trial for trial in records if not trial.failure]
        failures = [f"seed {r.folder.name}: {r.failure[:300]}" for r in records if r.failure]
        return ArmResult(
            name=arm,
            method=ARMS[arm].file if arm in ARMS else self.track.method.name,
            commit=record.kept.commit if record.kept and arm == "proposed" else record.commits[arm],
            summaries=summaries(scores) if scores else {},
            trials=tuple(Trial(seed=seed, scores=each.metrics) for seed, each in zip(finished, scores, strict=True)),
            latency=latency_of(records),
            seconds=sum(trial.report.get("seconds", 0.0) for trial in records),
            disagreements=evidence.disagreements(done, [each.accuracy for each in scores], finished),
            failures=tuple(failures),
        )

    def _teacher(self) -> Scores:
        """Raises TrainingError where it made no prediction."""
        return self._aside("teacher", self.record.paths.teacher(self.track.name) / "test.safetensors")

    def _assistant(self) -> Assistant:
        """Raises TrainingError where it made no prediction."""
        track, place = self.track, self.record.paths.assistant(self.track.name)
        checkpoint = track.assistant.checkpoint if track.assistant else ""
        return Assistant(
            model=_model(self.record.prepared[track.name], "assistant", checkpoint),
            scores=self._aside("assistant", place / "test.safetensors").metrics,
            steps=track.assistant_steps,
            seconds=evidence.TrialRecord(place).ended("seconds"),
        )

    def _aside(self, who: Who, logits: Path) -> Scores:
        if not logits.exists():
            problem = f"the {who} of {self.track.name} made no prediction"
            raise TrainingError(problem, f"see {self.record.paths.logs}")
        return score(tensor(logits, "logits"), self.record.labels(self.track, "test"))


def _gap(track: Track, teacher: Scores, students: Sequence[Scores]) -> Gap:
    """Where there is none, with a setting that leaves the student further behind."""
    found = gap(teacher, students)
    if found.significant or not (more := more_headroom(track)):
        return found
    return found.model_copy(update={"note": f"{found.note} To leave the student further behind: `{more}`."})


def latency_of(records: Sequence[evidence.TrialRecord]) -> Latency | None:
    for said in (record.prediction for record in records):
        if "inference_ms" in said:
            protocol = (
                f"{said['device']}, {said['threads']} thread(s), one row at a time, 20 warm-up and 200 timed runs"
            )
            return Latency(p50_ms=said["inference_ms"], p95_ms=said["inference_ms_p95"], protocol=protocol)
    return None


def _data(prepared: Prepared) -> Data:
    labels = prepared.task.labels
    splits = {
        name: Split(rows=prepared.rows[name], label_counts=dict(zip(labels, counts, strict=True)) if counts else {})
        for name, counts in prepared.label_counts.items()
    }
    return Data(
        source=prepared.source,
        revision=prepared.revision,
        hash=prepared.hash,
        splits=splits,
        notes=prepared.notes,
        overlap=f"{prepared.overlap} (case and blanks ignored)",
    )


def _model(prepared: Prepared, who: Who, checkpoint: str) -> Model:
    known = prepared.models[who]
    return Model(architecture=known.class_, checkpoint=checkpoint, parameters=known.parameters, size_mb=known.size_mb)
