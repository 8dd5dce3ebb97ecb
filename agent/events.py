"""The event log: append-only JSON lines, each with the hash of the line before it, each on disk before it counts."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import DataError


class EventLog:
    """Appending is for one process at a time, the one that holds the run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **data: Any) -> None:
        """Add one event and wait until it is on disk. A line that a crash tore is cut off: nothing was built on it."""
        events = self.read()
        previous = events[-1]["hash"] if events else ""
        event = {"schema": 1, "seq": len(events), "time": now(), "kind": kind, "data": data, "previous": previous}
        event["hash"] = event_hash(event)
        with self.path.open("ab") as stream:
            stream.truncate(len(self._whole()))
            stream.write(json.dumps(event, sort_keys=True, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Every whole event. Raises DataError for a line that is none."""
        return [_event(line, f"{self.path}:{number}") for number, line in enumerate(self._whole().splitlines(), 1)]

    def count(self, kind: str, **data: Any) -> int:
        """How many events of this kind carry these values."""
        return sum(e["kind"] == kind and data.items() <= e["data"].items() for e in self.read())

    def _whole(self) -> bytes:
        """The file up to its last whole line."""
        text = self.path.read_bytes() if self.path.exists() else b""
        return text[: text.rfind(b"\n") + 1]


def _event(line: bytes, where: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or not event.keys() >= {"seq", "kind", "data", "previous", "hash"}:
        raise DataError(f"{where} is no event", "the file was changed by hand: restore it")
    return event


def event_hash(event: dict[str, Any]) -> str:
    body = {name: value for name, value in event.items() if name != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def broken_link(events: list[dict[str, Any]]) -> int | None:
    """The seq of the first event whose hash or link does not hold, or None."""
    previous = ""
    for position, event in enumerate(events):
        if event["seq"] != position or event["previous"] != previous or event["hash"] != event_hash(event):
            return position
        previous = event["hash"]
    return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
