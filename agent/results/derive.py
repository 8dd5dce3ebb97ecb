"""results.json from what a run left on disk, and from nothing else, so that anybody can derive it again.

Every number is computed here and in the files it leans on, from logits, labels, traces and the event log.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from agent.config import ROOT
from agent.figures import count
from agent.frozen import Known
from agent.llm.conversation import Conversation, Exchange
from agent.plan.compiling import told
from agent.record.paths import is_attempt
from agent.results import evidence
from agent.results.conclude import conclude
from agent.results.executed import run_fields
from agent.results.published import PUBLISHED
from agent.results.run_record import RunRecord
from agent.results.schema import Attempt, Authorship, Code, FieldRow, Isolation, Measured, Results, TrackResult
from agent.results.track_record import TrackRecord
from agent.results.wording import in_words_of_schema_1
from sandbox.workspace import Workspace

ResultStatus = Literal["complete", "partial", "failed", "cancelled"]
AttemptOutcome = Literal["kept", "discarded", "rejected"]


def derive(record: RunRecord) -> Results:
    """All measurements, and the conclusions that follow from them, in the words of the record's time."""
    results = conclude(_measured(record))
    return results if record.schema > 1 else in_words_of_schema_1(results)


def _measured(record: RunRecord) -> Measured:
    tracks = tuple(TrackRecord(record, track).result() for track in record.plan.tracks)
    seen, exchanges = record.observed, Conversation(record.paths.conversation)
    status, reason = _status(record)
    return Measured(
        schema=record.schema,
        run=record.run["id"],
        status=status,
        status_reason=reason,
        created=record.run["created"],
        version=seen["version"],
        idea=record.plan.idea,
        title=record.plan.title,
        source=_source(seen["source"], exchanges.exchanges),
        plan=record.plan,
        plan_hash=record.plan.hash,
        isolation=Isolation.model_validate(seen["isolation"]),
        environment=_environment(record),
        fields=_run_fields(record, tracks, sum(seen["seconds"].values()), exchanges.tokens),
        tracks=tracks,
        attempts=tuple(record.history),
        code=_code(record),
        exposures=_exposures(record),
        seconds=seen["seconds"],
        tokens=exchanges.tokens,
        command=record.options.command,
        deviations=deviations(record),
        warnings=record.warnings,
    )


def _status(record: RunRecord) -> tuple[ResultStatus, str]:
    if record.observed["late"] and any(trial["status"] == "failed" for trial in record.said("trial")):
        return "partial", "the time budget ran out"
    return ("complete", "") if record.kept else ("failed", "no attempt trained")


def _environment(record: RunRecord) -> dict[str, Known]:
    """The machine as it was seen from outside, the effect of compiling on it where that was measured, and the flags
    that every training reported."""
    found = {name: Known.model_validate(said) for name, said in record.observed["environment"].items()}
    for track in record.plan.tracks:
        if pace := record.prepared[track.name].pace:
            found[f"compiling, {track.name}"] = Known(value=told(pace, track))
    trials = [path.parent for path in sorted(record.paths.folder.glob("trials/**/trace.jsonl"))]
    said = {str(flags) for each in trials if (flags := evidence.TrialRecord(each).executed("determinism"))}
    return found | ({"determinism": Known(value="; ".join(sorted(said)))} if said else {})


def _code(record: RunRecord) -> Code:
    workspace, start = Workspace.open(record.paths.repository), record.commits["start"]
    updated = record.kept.commit if record.kept else start
    diff = workspace.diff(start, updated)
    return Code(original=workspace.read(start), updated=workspace.read(updated), diff=diff)


def _run_fields(record: RunRecord, tracks: Sequence[TrackResult], seconds: float, tokens: int) -> tuple[FieldRow, ...]:
    outcomes = [json.loads(path.read_text()) for path in record.paths.jobs.glob("*/outcome.json")]
    longest = max((e["seconds"] / max(1, e["trials"]) for e in outcomes if e["process"] == "trial"), default=0.0)
    memory = max((each["memory"] for each in outcomes), default=0)
    return run_fields(record.plan, tracks, len(record.history), seconds, tokens, longest, memory)


def deviations(record: RunRecord) -> tuple[str, ...]:
    """Cache entries that were rebuilt, trials of other runs, trials split into micro-batches, and trials that
    were killed from outside or continued from a checkpoint."""
    found = [str(said["what"]) for said in record.said("made again")]
    reused = dict[tuple[str, str], dict[str, None]]()
    for path in sorted(record.paths.folder.glob("trials/*/*/*/trial.json")):
        report, (arm, track, seed) = json.loads(path.read_text()), path.parts[-4:-1]
        if origin := report.get("reused"):
            reused.setdefault((track, origin), {})[arm] = None
        if step := report.get("continued"):
            found.append(f"{track}: {arm} seed {seed} was cut off and continued from its checkpoint at step {step}")
        if (tried := report.get("tried", 1)) > 1:
            times = count(tried - 1, "time")
            found.append(f"{track}: {arm} seed {seed} was killed from outside {times} and started again")
        if (micro := report.get("micro", 1)) > 1:
            size = record.plan.track(track).training.batch_size
            split = f"{micro} micro-batches of {size // micro} rows"
            found.append(f"{track}: memory ran out, so {arm} seed {seed} was trained in {split} instead of {size}")
    same = "by the same code, on the same data, with the same settings, seeds and teacher"
    for (track, origin), arms in reused.items():
        found.append(f"{track}: trials of {', '.join(arms)} were reused from run {origin}, which trained them {same}")
    return tuple(found)


def _exposures(record: RunRecord) -> dict[str, int]:
    arms = [data["arm"] for data in record.said("test predicted")]
    return {"proposed" if is_attempt(arm) else arm: arms.count(arm) for arm in arms}


def _source(asked: dict[str, str], exchanges: Sequence[Exchange]) -> Authorship:
    """Who was asked in the end; a model took part where any exchange was with one."""
    took_part = any(name != "recipes" for name in (asked["name"], *(each.source for each in exchanges)))
    return Authorship(name=asked["name"], model=asked["model"], took_part=took_part)


def decision(dev_score: float | None, history: Sequence[Attempt]) -> tuple[AttemptOutcome, str]:
    """Whether an attempt is kept, the best on the dev rows so far, and why."""
    kept = (attempt.dev_score for attempt in history if attempt.outcome == "kept")
    best = max((score for score in kept if score is not None), default=None)
    if dev_score is None:
        return "rejected", "a trial failed"
    if best is None or dev_score > best:
        return "kept", "the first that trained" if best is None else "the best on the dev rows so far"
    return "discarded", "not better on the dev rows than the one kept"


def code_hash() -> str:
    """Of everything that decides how results and reports follow from a record."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in deciding_files())).hexdigest()


def deciding_files() -> list[Path]:
    """The agent's code in every room, what takes files in, prompts, the report's templates and published figures."""
    code = (*ROOT.glob("agent/**/*.py"), *ROOT.glob("sandbox/**/*.py"))
    return sorted(
        (
            *code,
            *ROOT.glob("templates/prompts/*"),
            *ROOT.glob("templates/report/*"),
            PUBLISHED,
            *ROOT.glob("baselines/splits.toml"),
        )
    )
