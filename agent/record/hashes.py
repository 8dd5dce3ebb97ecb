"""The hash of every file of a run, recorded in the event log as soon as the file is complete.

The last note of a name counts. A run that stops records whatever no step has recorded yet: for good at its end
(`sealed`), else until it continues (`stopped`, then `resumed`). An event after the seal that changes a
file, such as a review, carries the file's new hash.

A run's folder for scratch files, its lock, its clock and LangGraph's checkpoints are not part of the record: nothing is
derived from them. Of run.json the part that never changes is recorded; the rest follows from the log.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agent.errors import UsageError
from agent.record import runs
from agent.record.events import Event, EventLog
from agent.record.files import file_hash
from agent.record.paths import RunPaths

NO_RECORD = ("scratch", "lock", "clock.json", "state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "events.jsonl")
FIXED = ("schema", "id", "created", "options", "parent")
"""The fields of run.json that never change, in the order of the file."""
MOST_LINES = 2000
DIGITS = 4  # of a line's hash: they only help to find the line


class Note(NamedTuple):
    sha256: str
    lines: str = ""
    """The first digits of the hash of each line; empty where there are too many, and for files that are not text."""

    @classmethod
    def of(cls, text: bytes) -> "Note":
        rows = text.split(b"\n")
        lines = "".join(hashlib.sha256(row).hexdigest()[:DIGITS] for row in rows) if len(rows) <= MOST_LINES else ""
        return cls(hashlib.sha256(text).hexdigest(), lines)

    @classmethod
    def of_file(cls, paths: RunPaths, name: str) -> "Note":
        """Raises OSError, and UsageError for an invalid run.json."""
        binary = name.endswith(".safetensors") or name.startswith("repository/objects/")
        return cls(file_hash(paths.folder / name)) if binary else cls.of(text(paths, name))

    def differs_in(self, other: "Note") -> int:
        """The first line, from 1, that differs; 0 where that is not known."""
        if not self.lines or not other.lines:
            return 0
        lines = range(0, max(len(self.lines), len(other.lines)), DIGITS)
        pairs = ((self.lines[at : at + DIGITS], other.lines[at : at + DIGITS]) for at in lines)
        return next((number for number, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 0)


def text(paths: RunPaths, name: str) -> bytes:
    """The part of a text that is recorded: all of it, except for run.json."""
    return fixed(runs.read(paths)) if name == paths.run.name else (paths.folder / name).read_bytes()


def fixed(record: Mapping[str, object]) -> bytes:
    """The part of run.json that never changes."""
    return json.dumps({name: record.get(name) for name in FIXED}, indent=1).encode()


def record(paths: RunPaths, start: str | tuple[str, ...] = "") -> list[str]:
    """The names of all files that are record, or of those that start so."""
    files = (path.relative_to(paths.folder) for path in paths.folder.rglob("*") if not path.is_dir())
    names = (file.as_posix() for file in files if file.parts[0] not in NO_RECORD and file.suffix != ".part")
    return sorted(name for name in names if name.startswith(start))


def notes(paths: RunPaths, names: Iterable[str], written: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """The hashes that an event records of these files, and of texts that will be `written` right after it."""
    found = {name: Note.of_file(paths, name) for name in names}
    found |= {name: Note.of(text.encode()) for name, text in (written or {}).items()}
    return {
        "files": {name: note.sha256 for name, note in found.items()},
        "lines": {name: note.lines for name, note in found.items() if note.lines},
    }


def noted(events: Iterable[Event]) -> dict[str, Note]:
    """The note of every file that has one."""
    lasting, passing = dict[str, Note](), dict[str, Note]()
    for event in events:
        data = event["data"]
        lines = data.get("lines", {})
        found = {name: Note(sha256, lines.get(name, "")) for name, sha256 in data.get("files", {}).items()}
        if event["kind"] == "stopped":
            passing = found
        elif event["kind"] == "resumed":
            passing = {}
        else:
            lasting |= found
    return passing | lasting


def fresh(paths: RunPaths, events: EventLog, start: str | tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Notes on the files whose names start so and that have none yet."""
    known = noted(events.read())
    return notes(paths, (name for name in record(paths, start) if name not in known))


def stop(paths: RunPaths, status: runs.RunStatus, reason: str) -> None:
    """The run stops for now: the log and run.json record how and why."""
    log = EventLog(paths.events)
    try:
        resume(paths)  # it may have stopped before
        log.append("stopped", status=status, reason=reason, **fresh(paths, log, ""))
    finally:
        runs.update(paths, status=status, reason=reason)


def closing(events: Iterable[Event]) -> Event | None:
    """The event that closed a run, if it is closed."""
    kinds = ("stopped", "resumed", "sealed")
    last = next((event for event in reversed(list(events)) if event["kind"] in kinds), None)
    return last if last and last["kind"] != "resumed" else None


def resume(paths: RunPaths) -> None:
    """A run that stopped continues; files altered meanwhile stay on record as altered."""
    log = EventLog(paths.events)
    events = log.read()
    if (last := closing(events)) and last["kind"] == "stopped":
        log.append("resumed", altered=[name for name, note in noted(events).items() if not _holds(paths, name, note)])


def _holds(paths: RunPaths, name: str, note: Note) -> bool:
    try:
        return Note.of_file(paths, name).sha256 == note.sha256
    except (OSError, UsageError):
        return False
