"""Runs one job to its end: drains its output, watches its limits, and leaves none of its processes behind."""

import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from sandbox.errors import LaunchError
from sandbox.isolation import Backend
from sandbox.job import Job, Launch, Limits
from sandbox.tree import Tree, memory

Status = Literal["ok", "error", "timeout", "memory", "cancelled"]

_TICK = 0.2
_TAIL_LINES = 40
_TAIL_BYTES = 16 << 10


@dataclass(frozen=True)
class Outcome:
    status: Status
    returncode: int
    """Negative for a signal; under bubblewrap a signal inside shows as 128 + its number."""
    seconds: float
    """Wall clock, start-up included."""
    peak_memory: int | None
    """Bytes held by all processes together, as seen every 0.2 s; None when the job ended before the first look."""
    log: Path
    tail: str
    """The last 40 lines of the log that are not empty, control characters escaped."""


def run(job: Job, backend: Backend, limits: Limits, log: Path, cancelled: threading.Event | None = None) -> Outcome:
    """Runs `job` until it ends, exceeds a limit or is cancelled; safe to call from several threads at once.

    Its output goes to `log`, which replaces any file of that name. Raises LaunchError when it cannot be started.
    """
    started = time.monotonic()
    launch = backend.launch(job, limits)
    with _new_file(log) as file, _start(launch) as child:
        pump = _Pump(child, file, limits.output)
        watchdog = _Watchdog(child, limits, cancelled)
        complaint = None
        try:
            while child.poll() is None and (complaint := watchdog.complaint()) is None:
                pump.turn(_TICK)
        finally:
            watchdog.tree.kill()
        status, reason = complaint or ("ok" if child.wait() == 0 else "error", "")
        pump.finish(reason)
        tail = _tail(file)
    return Outcome(status, child.returncode, time.monotonic() - started, watchdog.peak, log, tail)


@contextmanager
def _new_file(log: Path) -> Iterator[BinaryIO]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        file = log.open("x+b")  # never through a link
    except OSError as error:
        raise LaunchError(f"cannot write the log {log}: {error.strerror}") from error
    with file:
        yield file


def _start(launch: Launch) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise LaunchError(f"cannot start {launch.argv[0]}: {error}") from error


class _Watchdog:
    """Says whether a running job must be stopped, and why."""

    def __init__(self, child: subprocess.Popen[bytes], limits: Limits, cancelled: threading.Event | None) -> None:
        self.tree = Tree(child.pid)
        self.peak: int | None = None
        self._limits = limits
        self._deadline = time.monotonic() + limits.wall_s
        self._cancelled = cancelled

    def complaint(self) -> tuple[Status, str] | None:
        limits, members = self._limits, self.tree.look()
        used = memory(members, limits.memory)
        if members:
            self.peak = max(self.peak or 0, used)
        if self._cancelled is not None and self._cancelled.is_set():
            return "cancelled", "cancelled"
        if time.monotonic() > self._deadline:
            return "timeout", f"it ran longer than {limits.wall_s:g} s"
        if used > limits.memory:
            return "memory", f"it held {used >> 20} MiB of memory, limit {limits.memory >> 20}"
        if len(members) > limits.processes:
            return "error", f"it had {len(members)} processes, limit {limits.processes}"
        return None


class _Pump:
    """Drains a child's output however much there is; the log keeps the first and the last half of `keep` bytes."""

    def __init__(self, child: subprocess.Popen[bytes], log: BinaryIO, keep: int) -> None:
        assert child.stdout is not None
        self._child, self._pipe, self._log = child, child.stdout.fileno(), log
        self._head = self._half = keep // 2
        self._tail = bytearray()
        self._left_out = 0
        self._open = True
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def turn(self, seconds: float) -> None:
        """Reads for that long, or until the output has ended and the child with it."""
        end = time.monotonic() + seconds
        while self._open and (left := end - time.monotonic()) > 0:
            if self._poll.poll(left * 1000):
                self._take(os.read(self._pipe, 1 << 16))
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, end - time.monotonic()))

    def finish(self, reason: str) -> None:
        """Takes what is still in the pipe and closes the log's account with why the job was stopped, if it was."""
        self.turn(1.0)
        if self._left_out:
            self._log.write(b"\n[kdagent: %d bytes left out]\n" % self._left_out)
        self._log.write(self._tail)
        if reason:
            self._log.write(f"\n[kdagent: stopped, {reason}]\n".encode())
        self._log.flush()

    def _take(self, chunk: bytes) -> None:
        self._open = bool(chunk)
        head, rest = chunk[: self._head], chunk[self._head :]
        self._log.write(head)
        self._log.flush()  # a person may be following it
        self._head -= len(head)
        self._tail += rest
        excess = max(0, len(self._tail) - self._half)
        del self._tail[:excess]
        self._left_out += excess


def _tail(log: BinaryIO) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = [line for line in re.split(r"[\r\n]+", log.read().decode(errors="replace")) if line]
    return "\n".join(_printable(line) for line in lines[-_TAIL_LINES:])


def _printable(line: str) -> str:
    """Terminal sequences and direction marks become visible text instead of taking effect."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
