"""Runs one job to its end: drains its output, watches its limits, and leaves none of its processes behind."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import LaunchError
from sandbox.folder import lent
from sandbox.isolation.backend import Backend
from sandbox.isolation.job import Job, Launch, Limits
from sandbox.isolation.limit_watch import JobStatus, Watch
from sandbox.isolation.output import Output
from sandbox.isolation.process_tree import process_of

_TICK = 0.2
KILLERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    status: JobStatus
    """`error` is any failure that no limit caused; `disk` is too many bytes, `files` too many files."""
    returncode: int
    """Negative for a signal; under bubblewrap a signal inside shows as 128 + its number."""
    seconds: float
    """Wall clock, start-up included."""
    peak_memory: int | None
    """Bytes held by all processes together, as seen every 0.2 s; None when the job ended before the first look."""
    log: Path
    tail: str
    """The last 40 lines of the log that are not empty, control characters escaped."""

    @property
    def killed(self) -> bool:
        """Whether somebody else ended it, as a system does whose memory runs out: no limit and no error of its own."""
        number = -self.returncode if self.returncode < 0 else self.returncode - 128
        return self.status == "error" and number in KILLERS


def run(job: Job, backend: Backend, limits: Limits, log: Path, cancelled: threading.Event | None = None) -> Outcome:
    """Runs `job` until it ends, exceeds a limit or is cancelled; safe to call from several threads at once.

    Its output goes to `log`, which replaces any file of that name. Raises LaunchError when it cannot be started.
    """
    started = time.monotonic()
    launch = backend.launch(job, limits)
    with _new_file(log) as file, lent(job.write, launch.owner), _start(launch) as child:
        output = Output(child, file, limits.output)
        watch = Watch(launch, child, output, job.write, limits, cancelled)
        complaint = None
        try:
            while child.poll() is None and (complaint := watch.complaint()) is None:
                output.turn(_TICK)
        finally:
            watch.tree.kill()
        code = child.wait()
        output.turn(1.0)
        status, reason = complaint or watch.verdict(code)
        tail = output.close(reason)
    return Outcome(status, code, time.monotonic() - started, watch.peak, log, tail)


@contextmanager
def _new_file(log: Path) -> Iterator[BinaryIO]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        file = log.open("x+b", buffering=0)  # never through a link
    except OSError as error:
        raise LaunchError(f"cannot write the log {log}: {error.strerror}") from error
    with file:
        yield file


def _start(launch: Launch) -> subprocess.Popen[bytes]:
    if launch.owner is not None and (other := process_of(launch.owner)) is not None:
        raise LaunchError(f"user {launch.owner} already runs process {other}: a job needs a user of its own")
    try:
        with ExitStack() as stack:
            attached = {word: stack.enter_context(_in_memory(data)) for word, data in launch.attached.items()}
            return subprocess.Popen(
                [str(attached.get(word, word)) for word in launch.argv],
                env=launch.env,
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
                pass_fds=tuple(attached.values()),
            )
    except (OSError, ValueError) as error:
        raise LaunchError(f"cannot start {launch.argv[0]}: {error}") from error


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """The descriptor of a file that has no name and holds `data`, to be read from its beginning."""
    with open(os.memfd_create("attached"), "wb", buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()
