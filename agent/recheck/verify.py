"""Verify: a run checked against its own log, and every number of its report derived again from its files.

First the log, line by line; then every file against the hash that the log notes; then, where what they rest on is
intact, results.json and report.md against the texts derived again from predictions, labels, traces, commits and log.

Nothing is written, no cache, network or torch is needed, and nothing is tolerated: a text differs or it does not.
Whoever rewrites a whole record with all its hashes makes a different record; its log ends with a different hash, which
is why that hash is shown.
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

from agent import __version__
from agent.errors import DataError, UsageError
from agent.figures import count
from agent.recheck import audit
from agent.recheck.audit import Discrepancy
from agent.record import hashes, runs, shapes
from agent.record.events import SCHEMA, Event, event_hash, event_line
from agent.record.paths import RunPaths
from agent.record.runs import RunInfo
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
"""Fields of run.json that follow from the log and the plan."""
FREE = ("tags", "imported")
"""Fields of run.json that its owner may change; not part of the record."""
COMPUTE = ("numpy", "scipy", "scikit-learn")
"""Packages whose releases may differ in the last digit of a number."""
AHEAD = {"planned": "plan.json", "reviewed": "review.json"}
"""Events that are recorded before the file that they name."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Derived:
    """Everything derived from an intact record."""

    findings: tuple[Discrepancy, ...]
    counts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """results.json and report.md; none before the run measured anything."""
    run: RunInfo = field(default_factory=RunInfo)
    """Its fields in run.json."""
    notes: tuple[str, ...] = ()


@dataclass
class Verification:
    run: str
    findings: list[Discrepancy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Checks that were not possible and files that are missing, and why."""
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
        made.notes.append("files and numbers: the log that they are checked against was altered")
        return made
    closing, altered = hashes.closing(events), list(_files(paths, events, made))
    derived = _derived(paths, made, altered, {} if known is None or not closing else known)
    made.findings += derived.findings
    made.findings += _run(paths, closing, derived, made)
    found = [finding for name, text in derived.texts.items() for finding in _output(paths.folder / name, text, made)]
    if not altered and not derived.findings:
        found += [_unmade(path) for path in (paths.results, paths.report) if path.exists() and not derived.texts]
    better = {finding.file for finding in (*found, *made.findings)}  # more precise than a hash that differs
    made.findings = [finding for finding in altered if finding.file not in better] + made.findings + found
    made.counts |= derived.counts
    made.notes += derived.notes
    return made


def _derived(paths: RunPaths, made: Verification, altered: list[Discrepancy], known: dict[str, Derived]) -> Derived:
    """Everything that can be derived, if what it rests on is intact."""
    if any(finding.file not in (paths.results.name, paths.report.name) for finding in altered):
        made.notes.append("the numbers: the files they are derived from were altered")
        return Derived(())
    if not paths.plan.exists():
        made.notes.append("the numbers: the run has no plan yet")
        return Derived(())
    if made.head not in known:
        known[made.head] = _derive(paths)
    return known[made.head]


def _output(path: Path, due: str, made: Verification) -> Iterator[Discrepancy]:
    """A derived file, checked against its derivation."""
    if path.exists():
        yield from _text(path, due)
    else:
        made.notes.append(f"{path.name}: missing")


def _unmade(path: Path) -> Discrepancy:
    return Discrepancy(path.name, 0, "a file", "absent: the log has no record of a measurement")


def _log(paths: RunPaths, made: Verification) -> list[Event]:
    """The events up to the first that was altered. Raises DataError for a log of a different schema."""
    text = paths.events.read_bytes() if paths.events.exists() else b""
    *lines, torn = text.split(b"\n")
    events = list[Event]()
    for number, line in enumerate(lines, 1):
        event, wrong = _event(line, events)
        if wrong:
            made.findings.append(Discrepancy(paths.events.name, number, *wrong))
            return events
        events.append(event)
    for event in events:
        if event.get("schema") != SCHEMA:
            problem = f"{paths.events}:{event['seq'] + 1} has schema {event.get('schema')}, {SCHEMA} can be verified"
            raise DataError(problem, "it was written by a different version of kdagent: verify it with that one")
    made.head = events[-1]["hash"] if events else ""
    made.counts["events"] = len(events)
    if torn and hashes.closing(events):
        made.findings.append(
            Discrepancy(paths.events.name, len(lines) + 1, repr(torn[:80]), "nothing: the run had ended")
        )
    elif torn:
        made.notes.append(f"events.jsonl:{len(lines) + 1}: an unfinished line")
    return events


def _event(line: bytes, before: list[Event]) -> tuple[Event, tuple[str, str] | None]:
    """The event of a line, and what is wrong with it: (found, expected)."""
    try:
        event = json.loads(line)
        due = {"seq": len(before), "previous": before[-1]["hash"] if before else "", "hash": event_hash(event)}
        wrong = next((name for name, value in due.items() if event[name] != value), None)
        if wrong:
            return event, (f"{wrong} {event[wrong]}", f"{due[wrong]}, which follows from its content")
        if event_line(event) != line + b"\n" or not isinstance(event["data"], dict):
            return event, ("a different spelling of the event", event_line(event).decode()[:80])
        if event.get("schema") == SCHEMA and (problem := shapes.problem(event)):
            return event, (f"an event that {problem}"[:200], "an event")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Event(schema=0, seq=0, time="", kind="", data={}, previous="", hash=""), ("not an event", "an event")
    return event, None


def _files(paths: RunPaths, events: list[Event], made: Verification) -> Iterator[Discrepancy]:
    """Every file that does not match the log."""
    noted, there, imported = hashes.noted(events), set(hashes.record(paths)), _imported(paths)
    absent = [name for name in noted if name not in there and not name.startswith("repository/")]
    weights = [name for name in absent if name.endswith("/weights.safetensors")]
    for name in sorted(noted.keys() & there):
        yield from _file(paths, name, noted[name], imported)
    due = "" if hashes.closing(events) or not events else AHEAD.get(events[-1]["kind"], "")
    if due in absent:
        made.notes.append(f"{due}: the run was cut off before it could write it")
    for name in sorted(set(absent) - {*weights, due}):
        yield Discrepancy(name, 0, "missing", f"a file of SHA-256 {noted[name].sha256}")
    if weights:
        made.notes.append(f"{count(len(weights), 'file')} of weights: not here; no number is derived from weights")
    unknown = [name for name in sorted(there - noted.keys()) if not (imported and name.startswith("data/"))]
    if hashes.closing(events):
        yield from (Discrepancy(name, 0, "a file", "absent: it is not in the log") for name in unknown)
    elif unknown:
        made.notes.append(f"{count(len(unknown), 'file')}: the run was cut off before the log could record them")
    made.counts["files"] = len(noted.keys() & there)


def _imported(paths: RunPaths) -> bool:
    """An import stores commits again, under the same ids, and may bring prepared rows."""
    try:
        return "imported" in runs.read(paths)
    except UsageError:
        return False


def _file(paths: RunPaths, name: str, note: hashes.Note, imported: bool) -> Iterator[Discrepancy]:
    try:
        found = hashes.Note.of_file(paths, name)
    except (OSError, UsageError):
        yield Discrepancy(name, _broken_line(paths.folder / name), "unreadable", f"a file of SHA-256 {note.sha256}")
        return
    if found.sha256 == note.sha256 or (imported and _same_object(paths.folder / name)):
        return
    line = found.differs_in(note)
    rows = hashes.text(paths, name).split(b"\n") if line else []
    row = rows[line - 1] if line <= len(rows) and line else b""
    if name == paths.run.name:
        line = _place(paths.run, row)
    shown = repr(row.decode(errors="replace")[:SHOWN]) if line else f"SHA-256 {found.sha256}"
    yield Discrepancy(name, line, shown, f"as the file of SHA-256 {note.sha256} has it")


def _place(path: Path, row: bytes) -> int:
    """The line of a file that begins so."""
    lines = path.read_bytes().split(b"\n")
    return next((number for number, line in enumerate(lines, 1) if line.rstrip(b",") == row.rstrip(b",")), 0)


def _broken_line(path: Path) -> int:
    """The line in which run.json stops being JSON, or has an unknown name."""
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
    """Whether a loose object of git has the content of its name."""
    try:
        return sha1(zlib.decompress(path.read_bytes())).hexdigest() == path.parent.name + path.name
    except zlib.error:
        return False


def _run(paths: RunPaths, closing: Event | None, derived: Derived, made: Verification) -> Iterator[Discrepancy]:
    """Findings in fields of run.json that follow from the log, and in its spelling; its hash covers the rest."""
    try:
        found = runs.read(paths)
    except UsageError:
        yield Discrepancy(paths.run.name, _broken_line(paths.run), "not a valid run record", "one")
        return
    if found.keys() - {*hashes.FIXED, *DUE, *FREE}:
        yield Discrepancy(paths.run.name, _broken_line(paths.run), "an unknown name", "a known one")
        return
    due = found | {name: value for name, value in derived.run.items() if name in found}
    if found["status"] == "running" and not found.get("reason"):
        due |= {"status": "running", "reason": ""}
    elif closing and closing["kind"] == "stopped":
        due |= {name: closing["data"][name] for name in ("status", "reason")}
    elif not closing and found["status"] in ("succeeded", "partial"):
        due["status"] = "running"
    if not closing:
        made.notes.append(f"status {found['status']}: the run was cut off before the log could record how it ended")
    elif due["status"] == "running":
        made.notes.append("status running: the run was cut off before run.json could record how it ended")
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
    ended = RunInfo(status=runs.ENDED[results.status], reason=results.status_reason, verdict=results.verdict)
    return Derived(
        findings=(*before.findings, *audit.arithmetic(results)),
        counts={f"numbers in {name}": found for name, found in numbers.items()} | before.counts,
        texts={"results.json": text, "report.md": report},
        run={**before.run, **ended},
        notes=tuple(_since(results, record.observed["code"])),
    )


def _underivable(path: Path, error: Exception) -> Discrepancy:
    said = error.message if isinstance(error, KdagentError) else f"{type(error).__name__}: {error}"
    return Discrepancy(path.name, 0, f"an error ({said})"[:300], "the text derived from the record")


def _since(results: Results, code: str) -> Iterator[str]:
    """Code and packages that compute numbers and have changed."""
    if code != code_hash():
        yield f"the run was made by other code of kdagent {results.version}, this is {__version__}: words may differ"
    for name in COMPUTE:
        if (now := version(name)) != (was := results.environment[name].value):
            yield f"{name} is {now}, the run had {was}: last digits may differ because of that"


def _text(path: Path, due: str) -> Iterator[Discrepancy]:
    """Every line of a text that differs from its derivation; the first only, where one of them has more lines."""
    found = path.read_bytes()
    if found == due.encode():
        return
    ours, theirs = found.decode(errors="backslashreplace").split("\n"), due.split("\n")
    pairs = enumerate(zip_longest(ours, theirs, fillvalue=""), 1)
    wrong = [(number, line, other) for number, (line, other) in pairs if line != other]
    for number, line, other in wrong[: MOST_LINES if len(ours) == len(theirs) else 1]:
        column = next(i for i, (a, b) in enumerate(zip_longest(line, other), 1) if a != b)
        start = max(0, column - SHOWN // 2)
        yield Discrepancy(path.name, number, _shown(line[start:]), _shown(other[start:]), column)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
