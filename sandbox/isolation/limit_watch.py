"""Watches a running job: when and why it must be stopped, and how it has ended."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from sandbox.folder import Holding, measure
from sandbox.isolation.job import Launch, Limits
from sandbox.isolation.output import Output
from sandbox.isolation.process_tree import Entry, Tree, memory, unnamed

JobStatus = Literal["ok", "error", "timeout", "cpu", "memory", "disk", "files", "processes", "output", "cancelled"]

_COUNT_EVERY = 0.5  # seconds between two counts of the written folder; more when counting takes long
_COUNT_SHARE = 20
_MISSED_COUNTS = 5  # in a row


class Watch:
    """Decides whether a running job must be stopped, and how one that ended by itself has ended; with the reason."""

    def __init__(
        self,
        launch: Launch,
        child: subprocess.Popen[bytes],
        output: Output,
        folder: Path,
        limits: Limits,
        cancelled: threading.Event | None,
    ) -> None:
        self.tree = Tree(child.pid, launch.owner)
        self.peak: int | None = None
        self._output, self._folder, self._limits, self._cancelled = output, folder, limits, cancelled
        self._deadline = time.monotonic() + limits.wall_s
        self._next_count = 0.0
        self._missed_counts = 0
        self._unnamed_memory: dict[tuple[int, int], int] = {}
        self._oom_kills = _oom_kills()

    def complaint(self) -> tuple[JobStatus, str] | None:
        """The limit that is exceeded now, with the reason for the log; None while none is."""
        reached = next(self._reached(self.tree.look()), None)
        return reached and (reached[0], f"stopped, {reached[1]}")

    def verdict(self, code: int) -> tuple[JobStatus, str]:
        """Only after all processes have ended."""
        return next(self._left(code, -code if code < 0 else code - 128), ("ok" if code == 0 else "error", ""))

    def _reached(self, members: list[Entry]) -> Iterator[tuple[JobStatus, str]]:
        limits = self._limits
        if self._cancelled is not None and self._cancelled.is_set():
            yield "cancelled", "cancelled"
        if time.monotonic() > self._deadline:
            yield "timeout", f"it ran longer than {limits.wall_s:g} s"
        used = memory(members, limits.memory, self._unnamed_memory)
        if members:
            self.peak = max(self.peak or 0, used)
        if used > limits.memory:
            yield "memory", f"it used {used >> 20} MiB of memory, limit {limits.memory >> 20}"
        if self.tree.cpu_s > limits.cpu_s:
            yield "cpu", f"it used {self.tree.cpu_s:.1f} s of processor time, limit {limits.cpu_s:g}"
        if len(members) > limits.processes:
            yield "processes", f"it had {len(members)} processes, limit {limits.processes}"
        yield from self._too_loud()
        if time.monotonic() > self._next_count:
            yield from self._counted(members)

    def _counted(self, members: list[Entry]) -> Iterator[tuple[JobStatus, str]]:
        started = time.monotonic()
        try:
            hidden = unnamed(entry for entry in members if entry.pid != self.tree.root)  # the launcher may hide
            device = self._folder.stat().st_dev
            self._unnamed_memory = {file: size for file, size in hidden.items() if file[0] != device}
            on_disk = sum(hidden.values()) - sum(self._unnamed_memory.values())
            yield from self._too_much(self._measure(), on_disk)
            self._missed_counts = 0
        except OSError as error:
            self._missed_counts += 1
            if self._missed_counts > _MISSED_COUNTS:
                yield "disk", f"the files in its folder cannot be counted: {error}"
        now = time.monotonic()
        self._next_count = now + max(_COUNT_EVERY, _COUNT_SHARE * (now - started))

    def _measure(self) -> Holding:
        return measure(self._folder, self._limits.disk, self._limits.files)

    def _too_much(self, held: Holding, hidden: int = 0) -> Iterator[tuple[JobStatus, str]]:
        limits, used = self._limits, held.disk + hidden
        if used > limits.disk:
            yield "disk", f"its folder contained {used >> 20} MiB or more, limit {limits.disk >> 20}"
        if held.files > limits.files:
            yield "files", f"its folder contained {held.files} files or more, limit {limits.files}"
        if held.largest > limits.file_size:
            yield "disk", f"a file had {held.largest >> 20} MiB, limit {limits.file_size >> 20}"

    def _too_loud(self) -> Iterator[tuple[JobStatus, str]]:
        if self._output.taken > self._limits.flood:
            yield "output", f"it wrote {self._output.taken >> 20} MiB of output, limit {self._limits.flood >> 20}"
        if self._output.trouble:
            yield "disk", f"its log cannot be written: {self._output.trouble}"

    def _left(self, code: int, number: int) -> Iterator[tuple[JobStatus, str]]:
        """Limits that the kernel kept, or that were exceeded after the last look; `number` is that of a signal."""
        limits = self._limits
        try:
            held = self._measure()
        except OSError as error:
            yield "disk", f"the files in its folder cannot be counted: {error}"
            return
        yield from self._too_much(held)
        yield from self._too_loud()
        if number == signal.SIGXCPU or (number == signal.SIGKILL and self.tree.cpu_s > limits.cpu_s - 1):
            yield "cpu", f"it used its processor time, limit {limits.cpu_s:g} s"
        if number == signal.SIGXFSZ or (code != 0 and held.largest == limits.file_size):
            yield "disk", f"a file reached the limit of {limits.file_size >> 20} MiB"
        if number == signal.SIGKILL and _oom_kills() > self._oom_kills:
            yield "memory", "the machine ran out of memory and the kernel ended it"


def _oom_kills() -> int:
    """Processes that the kernel has ended for want of memory since it started."""
    with suppress(OSError):
        words = Path("/proc/vmstat").read_text().split()
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
    return 0
