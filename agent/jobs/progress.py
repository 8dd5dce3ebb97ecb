"""Live progress: arm, track, seed, step, loss and time left; one line every 30 s where there is no terminal."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from agent.record.clock import Clock
from agent.terminal import cell, tell

HEARTBEAT = 30.0  # seconds between two lines where nobody watches
TAIL = 4096  # bytes of a trace that are read; its writer is not trusted to keep lines short


class Progress:
    """Watches the traces of running trials. It shows what trials report about themselves; no decision rests on it."""

    def __init__(self, console: Console, clock: Clock, quiet: bool = False) -> None:
        self.console = console
        self.clock = clock
        self.quiet = quiet
        self._watched: dict[str, list[tuple[Path, int]]] = {}

    @contextmanager
    def phase(self, name: str, tracks: Sequence[str]) -> Iterator[None]:
        """Show one phase while it runs, and count how long it takes."""
        self._watched = {track: [] for track in tracks}
        started = time.monotonic()
        done = threading.Event()
        shower = threading.Thread(target=self._show, args=(name, started, done), daemon=True)
        shower.start()
        try:
            with self.clock.phase(name):
                yield
        finally:
            done.set()
            shower.join()
            if not self.quiet:
                tell(self.console, f"{name}: {time.monotonic() - started:.1f} s")

    def watch(self, track: str, folder: Path, trials: int) -> None:
        """Follow the traces that `trials` trials write under `folder`."""
        self._watched.setdefault(track, []).append((folder, trials))

    def say(self, *lines: str) -> None:
        if not self.quiet:
            tell(self.console, *lines)

    def _show(self, name: str, started: float, done: threading.Event) -> None:
        if self.quiet:
            return
        if not self.console.is_terminal:
            while not done.wait(HEARTBEAT):
                for row in self._rows():
                    self.say(f"{name}  {'  '.join(row)}")
            return
        with Live(console=self.console, transient=True, refresh_per_second=4) as live:
            while not done.wait(0.25):
                live.update(self._table(name, time.monotonic() - started))

    def _table(self, name: str, elapsed: float) -> Table:
        table = Table(title=f"{name} · {elapsed:.0f} s", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("track", "trial", "step", "loss", "left"):
            table.add_column(heading)
        for row in self._rows():
            table.add_row(*map(cell, row))  # a trial names its own folders
        return table

    def _rows(self) -> list[tuple[str, ...]]:
        """One row per running process; the folder of one that has ended is gone."""
        watched = [(track, folder, trials) for track, each in self._watched.items() for folder, trials in each]
        return [self._row(*one) for one in watched if one[1].exists()]

    def _row(self, track: str, folder: Path, trials: int) -> tuple[str, ...]:
        traces = sorted(folder.rglob("trace.jsonl"), key=_age)
        finished = len(list(folder.rglob("trial.json")))
        line = _last(traces[-1]) if traces else {}
        if not line:
            return track, f"{finished} of {trials} done, starting", "", "", ""
        where = traces[-1].parent.relative_to(folder)
        step, of, seconds = line.get("step", 0), line.get("of", 0), line.get("seconds", 0.0)
        left = seconds / step * of * (trials - finished) - seconds if step else 0.0
        trial = f"{where.parent} seed {where.name}" if where.parts else "teacher"
        return (
            track,
            f"{trial} ({finished} of {trials} done)",
            f"{step:.0f}/{of:.0f}",
            f"{line.get('loss', 0):.4f}",
            f"{max(0, left):.0f} s",
        )


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last(trace: Path) -> dict[str, Any]:
    """The newest whole log line, or {}."""
    try:
        with trace.open("rb") as stream:
            stream.seek(max(0, trace.stat().st_size - TAIL))
            lines = stream.read(TAIL).splitlines()
    except OSError:
        return {}
    for text in reversed(lines):
        try:
            line = json.loads(text, parse_int=float)  # an integer may be too large for any arithmetic
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(line, dict)
            and line.get("event") == "log"
            and all(isinstance(line.get(name), int | float) for name in ("step", "of", "loss", "seconds"))
        ):
            return line
    return {}
