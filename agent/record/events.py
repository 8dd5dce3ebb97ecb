"""The event log: append-only JSON lines, each with the hash of the line before it, each on disk before it counts.

An event that records files has `files`, the SHA-256 of each by its name in the run, and `lines` (see record/hashes).
Schema 1 did not record files: such a log is read, not continued.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict

from agent.errors import DataError

SCHEMA = 2
Kind = Literal[
    "planned",
    "reviewed",
    "workspace",
    "teachers",
    "trial",
    "attempt",
    "piloted",
    "decided",
    "out of time",
    "test predicted",
    "measured",
    "made again",
    "reported",
    "sealed",
    "stopped",
    "resumed",
    "replayed",
]


class Event(TypedDict):
    schema: int
    seq: int
    time: str
    """UTC, ISO 8601."""
    kind: str
    data: dict[str, Any]  # any: each kind of event has fields of its own
    previous: str
    """The hash of the event before it."""
    hash: str


class EventLog:
    """Only the process that has locked the run may append."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: Kind, **data: Any) -> None:
        """Add one event and wait until it is on disk. A line that a crash tore is cut off: nothing was built on it.

        Raises DataError for a log of a different schema.
        """
        events = self.read()
        if old := next((event["schema"] for event in events if event["schema"] != SCHEMA), None):
            raise DataError(f"{self.path} has schema {old}, this kdagent writes {SCHEMA}", "start a new run")
        previous = events[-1]["hash"] if events else ""
        event = Event(schema=SCHEMA, seq=len(events), time=now(), kind=kind, data=data, previous=previous, hash="")
        event["hash"] = event_hash(event)
        with self.path.open("ab") as stream:
            stream.truncate(len(self._whole()))
            stream.write(event_line(event))
            stream.flush()
            os.fsync(stream.fileno())

    def once(self, kind: Kind, **data: Any) -> None:
        """The same, unless the log has it: a step that a crash cut off is repeated and appends the same event."""
        if not self.count(kind, **data):
            self.append(kind, **data)

    def read(self) -> list[Event]:
        """Every complete event. Raises DataError for an invalid line, and for a schema this version does not know."""
        return [parse(line, f"{self.path}:{number}") for number, line in enumerate(self._whole().splitlines(), 1)]

    def count(self, kind: Kind, **data: Any) -> int:
        """How many events of this kind carry these values."""
        return sum(e["kind"] == kind and data.items() <= e["data"].items() for e in self.read())

    def _whole(self) -> bytes:
        """The file up to its last whole line."""
        text = self.path.read_bytes() if self.path.exists() else b""
        return text[: text.rfind(b"\n") + 1]


def parse(line: bytes, where: str) -> Event:
    """The event of a line. Raises DataError."""
    try:
        found, why = json.loads(line), ""
    except ValueError:
        found, why = None, ""
    except RecursionError as error:
        found, why = None, f": {error}"
    keys = {"schema", "seq", "kind", "data", "previous", "hash"}
    if not isinstance(found, dict) or not found.keys() >= keys or not isinstance(found["data"], dict):
        raise DataError(f"{where} is not a valid event{why}", "the file was changed by hand: restore it")
    event: Event = found  # type: ignore[assignment]  # its shape was looked at above
    if event["schema"] not in (1, SCHEMA):
        raise DataError(f"{where} has schema {event['schema']}, known are 1 and {SCHEMA}", "use a newer kdagent")
    return event


def event_line(event: Event) -> bytes:
    return json.dumps(event, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def event_hash(event: Event) -> str:
    body = {name: value for name, value in event.items() if name != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def broken_link(events: Sequence[Event]) -> int | None:
    """The seq of the first event whose hash or link is wrong, or None."""
    previous = ""
    for position, event in enumerate(events):
        if event["seq"] != position or event["previous"] != previous or event["hash"] != event_hash(event):
            return position
        previous = event["hash"]
    return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
