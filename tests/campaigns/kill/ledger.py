"""What of a run must be the same however often it was killed: its ledger, its results, its report."""

import json
import re
from pathlib import Path
from typing import Any

from agent.record.events import EventLog
from agent.record.paths import RunPaths

Event = tuple[str, dict[str, Any]]
PASSING = ("stopped", "resumed")
"""Events that say when a run was interrupted, and nothing about what it found."""
VARYING = ("run", "created", "time", "seconds", "lines", "p50_ms", "p95_ms")
"""Names of values that clocks and ids decide."""
HASHED = (".safetensors", "plan.json", "idea.md")
"""Ends of the names of files in which no clock and no id is written."""
LIMITS = ("at most 900", "at most 300", "at most 4096")
"""What is planned for seconds of the run and of a trial, and for memory."""
SPENT = re.compile(rf"({'|'.join(LIMITS)}) \| [\d.]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:+]+|[\d.]+ (min|ms|s|h)\b|\d{8}-\d{6}[a-z0-9-]+")
PHASE = re.compile(r"^\| [^|]+ \| TIME \|\n", re.MULTILINE)


def ledger(paths: RunPaths) -> list[Event]:
    """Every event in order, without what clocks and ids decide."""
    events = EventLog(paths.events).read()
    return [(event["kind"], _event(event["data"])) for event in events if event["kind"] not in PASSING]


def _event(data: dict[str, Any]) -> dict[str, Any]:
    """Jobs and logs are left out: they are named after the trials that were left to do."""
    files = {name: sha256 for name, sha256 in data.get("files", {}).items() if not name.startswith(("jobs/", "logs/"))}
    lasting = {name: sha256 if name.endswith(HASHED) or "/blobs/" in name else "" for name, sha256 in files.items()}
    return _still(data) | {"files": lasting}


def _still(value: Any) -> Any:
    """JSON without the values that vary."""
    if isinstance(value, dict):
        spent = ("executed",) if value.get("planned") in LIMITS else ()
        return {name: _still(inner) for name, inner in value.items() if name not in (*VARYING, *spent)}
    return [_still(inner) for inner in value] if isinstance(value, list) else value


def results(paths: RunPaths) -> Any:
    """results.json without what clocks and ids decide."""
    return _still(json.loads(paths.results.read_text()))


def report(paths: RunPaths) -> str:
    """report.md with one word for every time and id, and without its table of phases: each process counts its own."""
    text = SPENT.sub(r"\1 | TIME", paths.report.read_text())
    return PHASE.sub("", re.sub(r"TIME( TIME)*", "TIME", TIME.sub("TIME", text)))


def finished(paths: RunPaths) -> dict[Path, int]:
    """The files of finished trials and of finished predictions, and when they were written."""
    ends = (*paths.folder.glob("trials/*/*/*/*.json"), *paths.folder.glob("trials/teacher/*/*.json"))
    names = {"trial.json": ("trial.json", "trace.jsonl", "weights.safetensors")}
    files = [end.with_name(name) for end in ends for name in names.get(end.name, (end.name, f"{end.stem}.safetensors"))]
    return {file: file.stat().st_mtime_ns for file in files}
