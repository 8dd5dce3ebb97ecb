"""The event log: append-only JSON lines, each with the hash of the line before it, each on disk before it counts."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class EventLog:
    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **data: Any) -> None:
        """Add one event and wait until it is on disk."""
        events = self.read()
        previous = events[-1]["hash"] if events else ""
        event = {"schema": 1, "seq": len(events), "time": now(), "kind": kind, "data": data, "previous": previous}
        event["hash"] = event_hash(event)
        with self.path.open("a") as stream:
            stream.write(json.dumps(event, sort_keys=True, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Every whole event; a line torn by a crash is cut off first, since nothing was built on it."""
        if not self.path.exists():
            return []
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def count(self, kind: str, **data: Any) -> int:
        """How many events of this kind carry these values."""
        return sum(e["kind"] == kind and data.items() <= e["data"].items() for e in self.read())


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
