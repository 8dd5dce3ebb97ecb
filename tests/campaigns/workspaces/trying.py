"""Lets a parent read a workspace in a process of its own, and says from outside what came of it."""

import contextlib
import io
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import folder
from sandbox.errors import IntakeRejected
from tests.campaigns.workspaces.hostile import CODE, OUTSIDE, SECRET, TERMINAL, Workspace
from tests.campaigns.workspaces.place import CANARY, UNTOUCHED, Place, furnished

PATIENCE = 60.0  # seconds: libraries may come from a cold disk; of a FIFO nobody writes to, one is enough
MEMORY = 1 << 30
NOBODY = 65534
EFFECTS = ("\x1b", "\x07", "\u202e")


@dataclass(frozen=True)
class Tried:
    name: str
    careless: str
    bites: bool
    ours: str
    holds: bool


def tried(workspace: Workspace) -> Tried:
    careless = came_of(workspace, workspace.careless)
    ours = came_of(workspace, workspace.ours)
    good, reason = workspace.holds.startswith("="), workspace.holds.removeprefix("=")
    holds = ours.startswith(f"accepts {reason!r}"[:-1] if good else "rejected: ") and reason in ours
    return Tried(workspace.name, careless, workspace.bites in (careless, ""), ours, holds)


def came_of(workspace: Workspace, read: Callable[[Place], Any]) -> str:
    """What `bites` of a workspace may say, or `rejected: ` and the reason."""
    with _place(workspace) as place:
        patience = 1.0 if workspace.bites == "hangs" else PATIENCE
        end, said = _in_child(lambda: read(place), patience, workspace.as_user and os.geteuid() == 0)
        kept = "".join(path.read_text(errors="replace") for path in place.record.rglob("*") if path.is_file())
        if place.marker.exists():
            return CODE
        if CANARY in said + kept:
            return SECRET
        if place.outside.read_text() != UNTOUCHED:
            return OUTSIDE
        if any(effect in said for effect in EFFECTS):
            return TERMINAL
    return f"{end}{said}".replace(str(place.root), "…")


@contextlib.contextmanager
def _place(workspace: Workspace) -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="workspace-", dir=_in_memory()))
    try:
        place = furnished(root / "place")
        workspace.build(place)
        if workspace.as_user and os.geteuid() == 0:
            root.chmod(0o711)
            subprocess.run(["chown", "-R", str(NOBODY), place.root], check=True)
        yield place
    finally:
        folder.remove(root)


def _in_memory() -> Path | None:
    """Where deep folders are removed in a moment; None where programs cannot be started from there."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and not os.statvfs(memory).f_flag & os.ST_NOEXEC else None


def _in_child(read: Callable[[], Any], patience: float, drop: bool) -> tuple[str, str]:
    """(how it ended, what it said)."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        os.setsid()
        if drop:
            os.setgroups([])
            os.setuid(NOBODY)
        _answer(read, writing)
    os.close(writing)
    said, deadline = b"", time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        if not (chunk := os.read(reading, 1 << 16)):
            break
        said += chunk
    else:
        os.killpg(child, signal.SIGKILL)
        said = b"hangs\n"
    os.close(reading)
    os.waitpid(child, 0)
    end, _, rest = said.decode(errors="surrogateescape").partition("\n")
    return end, rest


def _answer(read: Callable[[], Any], writing: int) -> None:
    """Writes a first line that says how it went, and what was read behind it."""
    try:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        sys.stderr = io.StringIO()
        value = read()
        shown = value if isinstance(value, str) and any(effect in value for effect in EFFECTS) else repr(value)
        answer = f"accepts \n{shown}"
    except IntakeRejected as error:
        answer = f"rejected: \n{error.message}"
    except MemoryError:
        answer = "MemoryError"
    except BaseException as error:
        answer = type(error).__name__
    os.write(writing, answer.encode(errors="surrogateescape"))
    os._exit(0)
