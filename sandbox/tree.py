"""The processes a job started, found through /proc: how many, what memory they hold, and how all of them end.

A process escapes only by starting a session of its own and losing its parent, both between two looks; bubblewrap's
process namespace has no such gap.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Entry:
    pid: int
    parent: int
    session: int
    born: int
    """Start time in clock ticks since boot; tells a reused pid apart."""
    memory: int
    """Resident bytes, shared pages included."""


class Tree:
    """A session leader and whatever came out of it, other sessions included."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._born: dict[int, int] = {}

    def look(self) -> list[Entry]:
        """The members alive now. Each is remembered, so that it is found again after its parent has died."""
        table = _table()
        members = [e for e in table if e.session == self.root or self._born.get(e.pid) == e.born]
        found = {entry.pid for entry in members}
        while children := [e for e in table if e.parent in found and e.pid not in found]:
            members += children
            found |= {child.pid for child in children}
        self._born |= {entry.pid: entry.born for entry in members}
        return members

    def kill(self, within: float = 2.0) -> None:
        """Ends every member within that many seconds: stopped first, so that none can fork away, then killed."""
        deadline = time.monotonic() + within
        stopped: set[int] = set()
        while (new := {entry.pid for entry in self.look()} - stopped) and time.monotonic() < deadline:
            _signal(new, signal.SIGSTOP)
            stopped |= new
        while (left := [entry.pid for entry in self.look()]) and time.monotonic() < deadline:
            _signal(left, signal.SIGKILL)
            time.sleep(0.01)


def memory(members: Iterable[Entry], limit: int) -> int:
    """Bytes held together: resident pages, and where these exceed `limit`, each shared page counted only once (PSS)."""
    held = sum(entry.memory for entry in members)
    return held if held <= limit else sum(map(_proportional, members))


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _table() -> list[Entry]:
    """Every process that still runs; fields as proc(5) counts them, from the state on."""
    entries = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            _, _, after_name = Path("/proc", name, "stat").read_bytes().rpartition(b")")
            state, parent, _, session, *rest = after_name.split()
            threads, born, pages = (int(rest[i]) for i in (13, 15, 17))
            if state not in b"ZX" or threads > 1:  # a dead main thread may leave others running
                entries.append(Entry(int(name), int(parent), int(session), born, pages * _PAGE))
    return entries


def _proportional(entry: Entry) -> int:
    try:
        lines = Path("/proc", str(entry.pid), "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):  # gone, or hidden by the process itself
        return entry.memory
