"""Assembly: results.json from what a run holds on disk, and from nothing else, so that anybody derives it again.

Every number is computed here, from logits, labels, traces and the event log.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.config import ROOT
from agent.errors import TrainingError
from agent.frozen import Known
from agent.llm.conversation import Conversation, Exchange
from agent.plan.arms import ALONE, ARMS
from agent.plan.compiling import told
from agent.plan.headroom import more_headroom
from agent.plan.options import Options
from agent.plan.plan import Plan, Track
from agent.record import runs
from agent.record.events import EventLog, Kind
from agent.record.paths import RunPaths, attempt_name, is_attempt
from agent.record.prepared import Prepared, Who, read_facts
from agent.results import evidence
from agent.results.compare import compare, gap, judge
from agent.results.conclude import conclude
from agent.results.executed import fields, run_fields
from agent.results.guards import guards
from agent.results.published import PUBLISHED, published
from agent.results.schema import (
    Arm,
    Assistant,
    Attempt,
    Code,
    Comparison,
    Data,
    FieldRow,
    Gap,
    Guard,
    Isolation,
    Latency,
    Measured,
    Model,
    Results,
    Source,
    Split,
    TrackResult,
    Trial,
    summaries,
)
from agent.results.score import Scores, majority_accuracy, score
from sandbox.workspace import Workspace

Status = Literal["complete", "partial", "failed", "cancelled"]
Outcome = Literal["kept", "discarded", "rejected"]


@dataclass(frozen=True)
class Assembly:
    paths: RunPaths
    plan: Plan
    prepared: dict[str, Prepared]
    """Per track."""
    warnings: tuple[str, ...]
    events: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, paths: RunPaths) -> "Assembly":
        facts = read_facts(paths)
        plan = Plan.model_validate_json(paths.plan.read_text())
        return cls(paths, plan, facts.tracks, facts.warnings, tuple(EventLog(paths.events).read()))

    def results(self) -> Results:
        tracks = tuple(self._track(track) for track in self.plan.tracks)
        seen, exchanges = self.observed, Conversation(self.paths.conversation)
        status, reason = self._status()
        measured = Measured(
            schema=self._schema,
            run=self._run["id"],
            status=status,
            status_reason=reason,
            created=self._run["created"],
            version=seen["version"],
            idea=self.plan.idea,
            title=self.plan.title,
            source=_source(seen["source"], exchanges.exchanges),
            plan=self.plan,
            plan_hash=self.plan.hash,
            isolation=Isolation.model_validate(seen["isolation"]),
            environment=self._environment(),
            fields=self._run_fields(tracks, sum(seen["seconds"].values()), exchanges.tokens),
            tracks=tracks,
            attempts=tuple(self.history),
            code=self._code(),
            exposures=self._exposures(),
            seconds=seen["seconds"],
            tokens=exchanges.tokens,
            command=self._options.command,
            deviations=self._deviations(),
            warnings=self.warnings,
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

    # ── what the log says ───────────────────────────────────────────────────────────────────────────────────────────

    def said(self, kind: Kind) -> list[dict[str, Any]]:
        """The data of every event of that kind."""
        return [event["data"] for event in self.events if event["kind"] == kind]

    @property
    def observed(self) -> dict[str, Any]:
        """What was seen once, when the test rows were predicted."""
        return self.said("measured")[0]

    @property
    def _schema(self) -> Literal[1, 2]:
        """The schema that the results were written in: a record is held against the text of its time."""
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
    def _proposed(self) -> str:
        return attempt_name(self.kept.number) if self.kept else ""

    @property
    def _run(self) -> dict[str, Any]:
        return runs.read(self.paths)

    def _status(self) -> tuple[Status, str]:
        if self.observed["late"] and any(trial["status"] == "failed" for trial in self.said("trial")):
            return "partial", "the time budget ran out"
        return ("complete", "") if self.kept else ("failed", "no attempt trained")

    # ── one track ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _track(self, track: Track) -> TrackResult:
        prepared, names = self.prepared[track.name], self._names()
        records = {arm: evidence.trials(self.paths, self.plan, name, track.name) for arm, name in names.items()}
        scores = {arm: self._scores(name, track, "test") for arm, name in names.items()}
        teacher, majority = self._teacher(track), majority_accuracy(self.labels(track, "test"))
        seen = self._evidence(track, records) if self.kept else None
        rows = fields(seen, self._schema) if seen else ()
        checks = guards(seen, rows) if seen else ()
        return TrackResult(
            name=track.name,
            data=_data(prepared),
            teacher=_model(prepared, "teacher", track.teacher.checkpoint),
            student=_model(prepared, "student", track.student.checkpoint),
            assistant=self._assistant(track) if track.assistant else None,
            fields=rows,
            arms=tuple(self._arm(arm, track, records[arm], scores[arm]) for arm in names),
            teacher_scores=teacher.metrics,
            majority_accuracy=majority,
            comparisons=self._comparisons(scores, checks),
            guards=checks,
            gap=_gap(track, teacher, scores[ALONE.name]) if scores[ALONE.name] else None,
            published=() if self._options.own else published(track.task.name),
        )

    def _evidence(self, track: Track, records: dict[str, list[evidence.TrialRecord]]) -> evidence.Evidence:
        """What the checks of a track look at."""
        prepared, labels, names = self.prepared[track.name], self.labels(track, "test"), self._names()
        teacher, before = evidence.TrialRecord(self.paths.teacher(track.name)), self.said("teachers")[0]["weights"]
        return evidence.Evidence(
            plan=self.plan,
            track=track,
            arms=records,
            accuracies={
                arm: [each.accuracy for each in self._scores(name, track, "test")] for arm, name in names.items()
            },
            majority=majority_accuracy(labels),
            overlap=prepared.overlap,
            models=prepared.models,
            answers=self._answers(track),
            teacher=teacher,
            teacher_prediction=teacher.prediction,
            assistant=evidence.TrialRecord(self.paths.assistant(track.name)),
            teacher_same=before[track.name] == self.observed["teachers"][track.name],
            data_same=prepared.files == self.observed["data"][track.name],
            probe_file=self.paths.probe(self._proposed, track.name),
            scores=evidence.scores(self.paths.teacher(track.name)) if track.method.scored else (),
        )

    def _answers(self, track: Track) -> dict[str, tuple[int, int]]:
        """Rows and classes that the logits of every proposed trial have, per split."""
        found = dict[str, tuple[int, int]]()
        for split in ("dev", "test"):
            shapes = {logits.shape for logits in self._logits(self._proposed, track, split)}
            if len(shapes) == 1:
                found[split] = tuple(shapes.pop())
        return found

    def _names(self) -> dict[str, str]:
        """Arm in the report → arm on disk."""
        proposed = {"proposed": self._proposed} if self.kept else {}
        return {arm: arm for arm in self.plan.reference_arms} | proposed

    def _comparisons(self, scores: dict[str, list[Scores]], checks: Sequence[Guard]) -> tuple[Comparison, ...]:
        """The proposed arm beside every reference arm; each pair on the same rows and seeds."""
        plan, found = self.plan, list[Comparison]()
        for arm in plan.reference_arms:
            if len(scores.get("proposed", [])) == len(scores[arm]) == len(plan.seeds):
                compared = compare("proposed", arm, scores["proposed"], scores[arm])
                found += judge(compared, checks, plan.primary_metric, plan.least_effect, plan.level)
        return tuple(found)

    def _arm(self, arm: str, track: Track, records: Sequence[evidence.TrialRecord], scores: list[Scores]) -> Arm:
        finished = [seed for seed, record in zip(self.plan.seeds, records, strict=True) if not record.failure]
        done = [record for record in records if not record.failure]
        failures = [f"seed {r.folder.name}: {r.failure[:300]}" for r in records if r.failure]
        return Arm(
            name=arm,
            method=ARMS[arm].file if arm in ARMS else track.method.name,
            commit=self.kept.commit if self.kept and arm == "proposed" else self.commits[arm],
            summaries=summaries(scores) if scores else {},
            trials=tuple(Trial(seed=seed, scores=each.metrics) for seed, each in zip(finished, scores, strict=True)),
            latency=latency_of(records),
            seconds=sum(record.report.get("seconds", 0.0) for record in records),
            disagreements=evidence.disagreements(done, [each.accuracy for each in scores], finished),
            failures=tuple(failures),
        )

    def _scores(self, arm: str, track: Track, split: str) -> list[Scores]:
        """Scores of every trial that predicted, in the order of the seeds."""
        labels = self.labels(track, split)
        return [score(logits, labels) for logits in self._logits(arm, track, split)]

    def _logits(self, arm: str, track: Track, split: str) -> list[Any]:
        files = (self.paths.trial(arm, track.name, seed) / f"{split}.safetensors" for seed in self.plan.seeds)
        return [_tensor(path, "logits") for path in files if path.exists()]

    def _teacher(self, track: Track) -> Scores:
        logits = self.paths.teacher(track.name) / "test.safetensors"
        if not logits.exists():
            raise TrainingError(f"the teacher of {track.name} made no prediction", f"see {self.paths.logs}")
        return score(_tensor(logits, "logits"), self.labels(track, "test"))

    def _assistant(self, track: Track) -> Assistant:
        """Raises TrainingError where it made no prediction."""
        place = self.paths.assistant(track.name)
        logits = place / "test.safetensors"
        if not logits.exists():
            raise TrainingError(f"the assistant of {track.name} made no prediction", f"see {self.paths.logs}")
        return Assistant(
            model=_model(self.prepared[track.name], "assistant", track.assistant.checkpoint if track.assistant else ""),
            scores=score(_tensor(logits, "logits"), self.labels(track, "test")).metrics,
            steps=track.assistant_steps,
            seconds=evidence.TrialRecord(place).ended("seconds"),
        )

    def labels(self, track: Track, split: str) -> Any:
        return _tensor(self.paths.label_file(track.name, split), "labels")

    # ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _options(self) -> Options:
        return Options.from_json(self._run["options"])

    def _environment(self) -> dict[str, Known]:
        """The machine as it was seen from outside, what compiling would do on it where that was measured, and the flags
        that every training says it ran under."""
        found = {name: Known.model_validate(said) for name, said in self.observed["environment"].items()}
        for track in self.plan.tracks:
            if pace := self.prepared[track.name].pace:
                found[f"compiling, {track.name}"] = Known(value=told(pace, track))
        trials = [path.parent for path in sorted(self.paths.folder.glob("trials/**/trace.jsonl"))]
        said = {str(flags) for each in trials if (flags := evidence.TrialRecord(each).executed("determinism"))}
        return found | ({"determinism": Known(value="; ".join(sorted(said)))} if said else {})

    def _code(self) -> Code:
        workspace, start = Workspace.open(self.paths.repository), self.commits["start"]
        updated = self.kept.commit if self.kept else start
        diff = workspace.diff(start, updated)
        return Code(original=workspace.read(start), updated=workspace.read(updated), diff=diff)

    def _run_fields(self, tracks: Sequence[TrackResult], seconds: float, tokens: int) -> tuple[FieldRow, ...]:
        outcomes = [json.loads(path.read_text()) for path in self.paths.jobs.glob("*/outcome.json")]
        longest = max((e["seconds"] / max(1, e["trials"]) for e in outcomes if e["process"] == "trial"), default=0.0)
        memory = max((each["memory"] for each in outcomes), default=0)
        return run_fields(self.plan, tracks, len(self.history), seconds, tokens, longest, memory)

    def _deviations(self) -> tuple[str, ...]:
        """What in the cache was made again, trials of other runs, trials split into micro-batches, and trials that went
        on from a checkpoint."""
        found = [str(said["what"]) for said in self.said("made again")]
        reused = dict[tuple[str, str], dict[str, None]]()
        for path in sorted(self.paths.folder.glob("trials/*/*/*/trial.json")):
            report, (arm, track, seed) = json.loads(path.read_text()), path.parts[-4:-1]
            if origin := report.get("reused"):
                reused.setdefault((track, origin), {})[arm] = None
            if step := report.get("continued"):
                found.append(f"{track}: {arm} seed {seed} was cut off and went on from its checkpoint at step {step}")
            if (micro := report.get("micro", 1)) > 1:
                size = self.plan.track(track).training.batch_size
                split = f"{micro} micro-batches of {size // micro} rows"
                found.append(f"{track}: memory ran out, so {arm} seed {seed} was trained in {split} instead of {size}")
        same = "by the same code, on the same data, with the same settings, seeds and teacher"
        for (track, origin), arms in reused.items():
            found.append(
                f"{track}: trials of {', '.join(arms)} were reused from run {origin}, which trained them {same}"
            )
        return tuple(found)

    def _exposures(self) -> dict[str, int]:
        arms = [data["arm"] for data in self.said("test predicted")]
        return {"proposed" if is_attempt(arm) else arm: arms.count(arm) for arm in arms}


def code_hash() -> str:
    """Of everything that decides how results and reports follow from a record."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in deciding_files())).hexdigest()


def deciding_files() -> list[Path]:
    """The agent's code in every room, what takes files in, the report's templates and the published figures."""
    code = (*ROOT.glob("agent/**/*.py"), *ROOT.glob("sandbox/**/*.py"))
    return sorted((*code, *ROOT.glob("templates/report/*"), PUBLISHED, *ROOT.glob("baselines/splits.toml")))


def decision(dev_score: float | None, history: Sequence[Attempt]) -> tuple[Outcome, str]:
    """Whether an attempt is kept, the best on the dev rows so far, and why."""
    kept = (attempt.dev_score for attempt in history if attempt.outcome == "kept")
    best = max((score for score in kept if score is not None), default=None)
    if dev_score is None:
        return "rejected", "a trial failed"
    if best is None or dev_score > best:
        return "kept", "the first that trained" if best is None else "the best on the dev rows so far"
    return "discarded", "not better on the dev rows than the one kept"


def _source(asked: dict[str, str], exchanges: Sequence[Exchange]) -> Source:
    """Who was asked in the end; a model took part where any exchange was with one."""
    took_part = any(name != "recipes" for name in (asked["name"], *(each.source for each in exchanges)))
    return Source(name=asked["name"], model=asked["model"], took_part=took_part)


def _gap(track: Track, teacher: Scores, students: Sequence[Scores]) -> Gap:
    """Where there is none, with a setting that leaves the student further behind."""
    found = gap(teacher, students)
    if found.significant or not (more := more_headroom(track)):
        return found
    return found.model_copy(update={"note": f"{found.note} What leaves the student further behind: `{more}`."})


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


def _tensor(path: Path, name: str) -> Any:
    from safetensors.numpy import load_file

    return load_file(path)[name]
