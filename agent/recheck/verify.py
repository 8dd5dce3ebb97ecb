"""Verify: a run held against its own log, and every number of its report derived again from what it holds.

First the log, line by line; then every file against the hash that the log notes; then, where what they rest on is
intact, results.json and report.md against what follows again from predictions, labels, traces, commits and the log.

Nothing is written, no cache, network or torch is needed, and nothing is tolerated: a text differs or it does not.
Whoever rewrites a whole record with all its hashes makes another record; its log ends with another hash, which is why
that hash is shown.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha1
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

from agent import __version__
from agent.errors import DataError, UsageError
from agent.figures import count
from agent.recheck import audit
from agent.recheck.audit import Finding
from agent.record import hashes, runs
from agent.record.events import SCHEMA, event_hash, event_line
from agent.record.paths import RunPaths
from agent.results import review
from agent.results.derive import code_hash, derive
from agent.results.report import render_report
from agent.results.run_record import RunRecord
from agent.results.schema import Results
from sandbox.errors import KdagentError

MOST_LINES = 20
"""Findings about one text."""
SHOWN = 80  # characters of a line
DUE = ("status", "reason", "verdict", "tracks")
"""What of run.json follows from the log and the plan."""
FREE = ("tags", "imported")
"""What of run.json its owner may change; no record."""
COMPUTE = ("numpy", "scipy", "scikit-learn")
"""Packages whose releases may differ in the last digit of a number."""
AHEAD = {"planned": "plan.json", "reviewed": "review.json"}
"""Events that are on record before the file that they note."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Derived:
    """What follows from an intact record."""

    findings: tuple[Finding, ...]
    counts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """results.json and report.md; none before the run measured anything."""
    run: dict[str, Any] = field(default_factory=dict)
    """What run.json says of it."""
    notes: tuple[str, ...] = ()


@dataclass
class Verification:
    run: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be checked or is not there, and why."""
    counts: dict[str, int] = field(default_factory=dict)
    head: str = ""
    """Hash of the last event."""

    @property
    def verdict(self) -> str:
        counted = ", ".join(
            f"{number:,} {what.removesuffix('s') if number == 1 else what}" for what, number in self.counts.items()
        )
        if self.findings:
            return f"NOT VERIFIED: {self.run}: {count(len(self.findings), 'finding')}; checked: {counted or 'nothing'}"
        return f"verified: {self.run}: {counted}; the log ends with {self.head or 'no event'}"


def verify(paths: RunPaths, known: dict[str, Derived] | None = None) -> Verification:
    """`known` keeps what was derived, under the last hash of an ended log, for whoever verifies a record many times.

    Raises DataError for a log that this version can read and not verify.
    """
    made = Verification(paths.id)
    events = _log(paths, made)
    if made.findings:
        made.notes.append("files and numbers: the log that they are held against was altered")
        return made
    closing, altered = hashes.closing(events), list(_files(paths, events, made))
    derived = _derived(paths, made, altered, {} if known is None or not closing else known)
    made.findings += derived.findings
    made.findings += _run(paths, closing, derived, made)
    found = [finding for name, text in derived.texts.items() for finding in _output(paths.folder / name, text, made)]
    if not altered and not derived.findings:
        found += [_unmade(path) for path in (paths.results, paths.report) if path.exists() and not derived.texts]
    better = {finding.file for finding in (*found, *made.findings)}  # they say more than that a hash differs
    made.findings = [finding for finding in altered if finding.file not in better] + made.findings + found
    made.counts |= derived.counts
    made.notes += derived.notes
    return made


def _derived(paths: RunPaths, made: Verification, altered: list[Finding], known: dict[str, Derived]) -> Derived:
    """Everything that can be derived, if what it rests on is intact."""
    if any(finding.file not in (paths.results.name, paths.report.name) for finding in altered):
        made.notes.append("the numbers: what they are derived from was altered")
        return Derived(())
    if not paths.plan.exists():
        made.notes.append("the numbers: the run has no plan yet")
        return Derived(())
    if made.head not in known:
        known[made.head] = _derive(paths)
    return known[made.head]


def _output(path: Path, due: str, made: Verification) -> Iterator[Finding]:
    """A file that follows from the record, held against what follows."""
    if path.exists():
        yield from _text(path, due)
    else:
        made.notes.append(f"{path.name}: it is not there")


def _unmade(path: Path) -> Finding:
    return Finding(path.name, 0, "a file", "absent: the log has no word of what was measured")


def _log(paths: RunPaths, made: Verification) -> list[dict[str, Any]]:
    """The events up to the first that was altered. Raises DataError for a log of another schema."""
    text = paths.events.read_bytes() if paths.events.exists() else b""
    *lines, torn = text.split(b"\n")
    events = list[dict[str, Any]]()
    for number, line in enumerate(lines, 1):
        event, wrong = _event(line, events)
        if wrong:
            made.findings.append(Finding(paths.events.name, number, *wrong))
            return events
        events.append(event)
    for event in events:
        if event.get("schema") != SCHEMA:
            problem = f"{paths.events}:{event['seq'] + 1} has schema {event.get('schema')}, {SCHEMA} can be verified"
            raise DataError(problem, "it was written by another version of kdagent: verify it with that one")
    made.head = events[-1]["hash"] if events else ""
    made.counts["events"] = len(events)
    if torn and hashes.closing(events):
        made.findings.append(Finding(paths.events.name, len(lines) + 1, repr(torn[:80]), "nothing: the run had ended"))
    elif torn:
        made.notes.append(f"events.jsonl:{len(lines) + 1}: a line that was never finished")
    return events


def _event(line: bytes, before: list[dict[str, Any]]) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """The event of a line, and what is wrong with it: (found, expected)."""
    try:
        event = json.loads(line)
        due = {"seq": len(before), "previous": before[-1]["hash"] if before else "", "hash": event_hash(event)}
        wrong = next((name for name, value in due.items() if event[name] != value), None)
        if wrong:
            return event, (f"{wrong} {event[wrong]}", f"{due[wrong]}, which follows from its content")
        if event_line(event) != line + b"\n" or not isinstance(event["data"], dict):
            return event, ("another spelling of the event", event_line(event).decode()[:80])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}, ("no event", "one")
    return event, None


def _files(paths: RunPaths, events: list[dict[str, Any]], made: Verification) -> Iterator[Finding]:
    """Every file that is not what the log notes."""
    noted, there, imported = hashes.noted(events), set(hashes.record(paths)), _imported(paths)
    absent = [name for name in noted if name not in there and not name.startswith("repository/")]
    weights = [name for name in absent if name.endswith("/weights.safetensors")]
    for name in sorted(noted.keys() & there):
        yield from _file(paths, name, noted[name], imported)
    due = "" if hashes.closing(events) or not events else AHEAD.get(events[-1]["kind"], "")
    if due in absent:
        made.notes.append(f"{due}: the run was cut off before it could write it")
    for name in sorted(set(absent) - {*weights, due}):
        yield Finding(name, 0, "missing", f"a file of SHA-256 {noted[name].sha256}")
    if weights:
        made.notes.append(f"{count(len(weights), 'file')} of weights: not here; no number is derived from weights")
    unknown = [name for name in sorted(there - noted.keys()) if not (imported and name.startswith("data/"))]
    if hashes.closing(events):
        yield from (Finding(name, 0, "a file", "absent: the log does not note it") for name in unknown)
    elif unknown:
        made.notes.append(f"{count(len(unknown), 'file')}: the run was cut off before the log could note them")
    made.counts["files"] = len(noted.keys() & there)


def _imported(paths: RunPaths) -> bool:
    """An import stores commits anew, under the same ids, and may bring prepared rows."""
    try:
        return "imported" in runs.read(paths)
    except UsageError:
        return False


def _file(paths: RunPaths, name: str, note: hashes.Note, imported: bool) -> Iterator[Finding]:
    try:
        found = hashes.Note.of_file(paths, name)
    except (OSError, UsageError):
        yield Finding(name, _broken_line(paths.folder / name), "unreadable", f"a file of SHA-256 {note.sha256}")
        return
    if found.sha256 == note.sha256 or (imported and _same_object(paths.folder / name)):
        return
    line = found.differs_in(note)
    rows = hashes.text(paths, name).split(b"\n") if line else []
    row = rows[line - 1] if line <= len(rows) and line else b""
    if name == paths.run.name:
        line = _place(paths.run, row)
    shown = repr(row.decode(errors="replace")[:SHOWN]) if line else f"SHA-256 {found.sha256}"
    yield Finding(name, line, shown, f"as the file of SHA-256 {note.sha256} has it")


def _place(path: Path, row: bytes) -> int:
    """The line of a file that begins so."""
    lines = path.read_bytes().split(b"\n")
    return next((number for number, line in enumerate(lines, 1) if line.rstrip(b",") == row.rstrip(b",")), 0)


def _broken_line(path: Path) -> int:
    """The line in which run.json stops being JSON, or names what it does not hold."""
    try:
        text = path.read_text(errors="replace")
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno
    except (OSError, RecursionError):
        return 0
    known = (' "schema": 1,', *(f' "{name}": ' for name in (*hashes.FIXED[1:], *DUE, *FREE)))
    lines = enumerate(text.split("\n"), 1)
    return next((number for number, line in lines if line.startswith(' "') and not line.startswith(known)), 0)


def _same_object(path: Path) -> bool:
    """Whether a loose object of git holds what its name says."""
    try:
        return sha1(zlib.decompress(path.read_bytes())).hexdigest() == path.parent.name + path.name
    except zlib.error:
        return False


def _run(paths: RunPaths, closing: dict[str, Any] | None, derived: Derived, made: Verification) -> Iterator[Finding]:
    """What of run.json follows from the log, and its spelling; the rest was held against its hash."""
    try:
        found = runs.read(paths)
    except UsageError:
        yield Finding(paths.run.name, _broken_line(paths.run), "no record of a run", "one")
        return
    if found.keys() - {*hashes.FIXED, *DUE, *FREE}:
        yield Finding(paths.run.name, _broken_line(paths.run), "a name that is none of its own", "one that is")
        return
    due = found | {name: value for name, value in derived.run.items() if name in found}
    if found["status"] == "running" and not found.get("reason"):
        due |= {"status": "running", "reason": ""}
    elif closing and closing["kind"] == "stopped":
        due |= {name: closing["data"][name] for name in ("status", "reason")}
    elif not closing and found["status"] in ("succeeded", "partial"):
        due["status"] = "running"
    if not closing:
        made.notes.append(f"status {found['status']}: the run was cut off before the log could say how it ended")
    elif due["status"] == "running":
        made.notes.append("status running: the run was cut off before run.json could say how it ended")
    yield from _text(paths.run, json.dumps(due, indent=1))


def _derive(paths: RunPaths) -> Derived:
    try:
        record = RunRecord.read(paths)
    except Exception as error:  # here and below: an error is never a pass
        return Derived((_underivable(paths.plan, error),))
    made = {commit for each in audit.commits(record).values() for commit in each}
    tracks = [track.name for track in record.plan.tracks]
    before = Derived(tuple(audit.audit(record)), {"commits": len(made)}, run={"tracks": tracks})
    if not record.said("measured"):
        return before
    try:
        return _measured(record, before)
    except Exception as error:
        return replace(before, findings=(*before.findings, _underivable(paths.results, error)))


def _measured(record: RunRecord, before: Derived) -> Derived:
    """The same, with the results and the report."""
    results = derive(record)
    text, report = results.model_dump_json(by_alias=True, indent=1), render_report(results, review.read(record.paths))
    numbers = {"results.json": len(NUMBER.findall(text)), "report.md": len(NUMBER.findall(report))}
    ended = {"status": runs.ENDED[results.status], "reason": results.status_reason, "verdict": results.verdict}
    return Derived(
        findings=(*before.findings, *audit.arithmetic(results)),
        counts={f"numbers in {name}": found for name, found in numbers.items()} | before.counts,
        texts={"results.json": text, "report.md": report},
        run=before.run | ended,
        notes=tuple(_since(results, record.observed["code"])),
    )


def _underivable(path: Path, error: Exception) -> Finding:
    said = error.message if isinstance(error, KdagentError) else f"{type(error).__name__}: {error}"
    return Finding(path.name, 0, f"nothing that can be derived ({said})"[:300], "what follows from the record")


def _since(results: Results, code: str) -> Iterator[str]:
    """What computes numbers and is not as it was."""
    if code != code_hash():
        yield f"the run was made by kdagent {results.version} with other code, this is {__version__}: words may differ"
    for name in COMPUTE:
        if (now := version(name)) != (was := results.environment[name].value):
            yield f"{name} is {now}, the run had {was}: last digits may differ for that"


def _text(path: Path, due: str) -> Iterator[Finding]:
    """Every line of a text that is not what it should be; the first only, where one of them has more lines."""
    found = path.read_bytes()
    if found == due.encode():
        return
    ours, theirs = found.decode(errors="backslashreplace").split("\n"), due.split("\n")
    pairs = enumerate(zip_longest(ours, theirs, fillvalue=""), 1)
    wrong = [(number, line, other) for number, (line, other) in pairs if line != other]
    for number, line, other in wrong[: MOST_LINES if len(ours) == len(theirs) else 1]:
        column = next(i for i, (a, b) in enumerate(zip_longest(line, other), 1) if a != b)
        start = max(0, column - SHOWN // 2)
        yield Finding(path.name, number, _shown(line[start:]), _shown(other[start:]), column)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
