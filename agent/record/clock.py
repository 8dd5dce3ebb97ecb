"""The time a run has spent: seconds in all and in each phase, over every process that worked on it.

Kept in a file that is not part of the record: the total is recorded once, with the event `measured`.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.errors import DataError
from agent.record.files import write_whole

KEPT = 5.0  # seconds between two writes: what a power cut may lose


class Clock:
    """Runs from the moment it is made. Without a file it counts for this process alone."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises DataError for a file that is not a valid clock."""
        self._path = path
        self._before, self._phases = _read(path) if path else (0.0, {})
        self._since = time.monotonic()
        self._running: tuple[str, float] | None = None

    @property
    def spent(self) -> float:
        """Seconds in all, but for those in which a person was asked."""
        return self._before + time.monotonic() - self._since

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each phase, in order, with the one that is running."""
        found = dict(self._phases)
        if running := self._running:
            name, started = running
            found[name] = found.get(name, 0.0) + time.monotonic() - started
        return found

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._running = name, time.monotonic()
        try:
            yield
        finally:
            self._phases, self._running = self.phases, None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While a person is asked."""
        asked = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - asked

    @contextmanager
    def kept(self) -> Iterator["Clock"]:
        """Write the clock down every few seconds, so that a resumed run keeps counting."""
        done = threading.Event()
        writer = threading.Thread(target=self._keep, args=(done,), daemon=True)
        writer.start()
        try:
            yield self
        finally:
            done.set()
            writer.join()
            self._write()

    def _keep(self, done: threading.Event) -> None:
        while not done.wait(KEPT):
            self._write()

    def _write(self) -> None:
        if self._path:
            with suppress(OSError):  # a full disk is for the run itself to complain about
                write_whole(self._path, json.dumps({"schema": 1, "spent": self.spent, "phases": self.phases}))


def _read(path: Path) -> tuple[float, dict[str, float]]:
    if not path.exists():
        return 0.0, {}
    try:
        known = json.loads(path.read_text())
        spent, phases = known["spent"], known["phases"]
        if known["schema"] == 1 and all(0 <= seconds < 1e9 for seconds in (spent, *phases.values())):
            return spent, phases
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise DataError(f"{path} is not a valid clock file", "remove it: the run's time then starts again from zero")
