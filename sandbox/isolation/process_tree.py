"""The processes a job started, found through /proc: their number, memory and time, and how all of them end.

An orphan is found again by its session, by having been seen before, and, where the job's first process adopts orphans
(bubblewrap's namespace and the launcher of the other backends do), by its parent. What the job runs as a user of its
own is also ended by that user, in one call that no fork can outrun.
"""

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CLOCK = os.sysconf("SC_CLK_TCK")
_RARELY = 500  # between two readings of the whole process table pass at least so many times the time that one took


@dataclass(frozen=True)
class Entry:
    """One process, at the moment it was looked at."""

    pid: int
    parent: int
    session: int
    born: int
    """Start time in clock ticks since boot; tells a reused pid apart."""
    memory: int
    """Resident bytes, shared pages included."""
    own_s: float
    """Processor seconds of its threads, ended ones included."""
    reaped_s: float
    """Processor seconds of the children it has waited for, and of theirs."""


class Tree:
    """A session leader and whatever came out of it, other sessions included."""

    def __init__(self, root: int, owner: int | None = None) -> None:
        self.root = root
        self.cpu_s = 0.0
        """Processor seconds of all members, ended ones as far as seen or waited for; never an overestimate."""
        self._owner = owner
        first = _entry(root)
        self._known = {root: first} if first else {}
        self._gone_s = 0.0
        self._next_table = time.monotonic() + 1

    def look(self, thorough: bool = False) -> list[Entry]:
        """The members alive now: the known ones and their descendants, and at times, or if `thorough`, lost orphans."""
        started = time.monotonic()
        table = _table() if thorough or started >= self._next_table or not _lists_children() else {}
        members = self._alive(table.get if table else _entry)
        while new := {e.pid: e for e in table.values() if e.pid not in members and self._is_ours(e, members)}:
            members |= new
        if table:
            self._next_table = started + _RARELY * (time.monotonic() - started)
        _add_descendants(members)
        self._count(members)
        self._known = members
        return list(members.values())

    def kill(self, within: float = 2.0) -> None:
        """Ends every member within that many seconds: by the root, which knows best, if it does so at once; else each
        is stopped first, so that none can fork away, and then killed.
        """
        deadline = time.monotonic() + within
        _end_all_of(self._owner)
        self._ask_root(time.monotonic() + within / 4)
        stopped: set[int] = set()
        while (new := self._others(stopped)) and time.monotonic() < deadline:
            _signal(new, signal.SIGSTOP)
            stopped |= new
        while stopped and (left := self._others(set())) and time.monotonic() < deadline:
            _signal(left - {self.root} or left, signal.SIGKILL)  # the root last: it may be what adopts orphans
            time.sleep(0.005)
        _signal({entry.pid for entry in self.look()}, signal.SIGKILL)

    def _ask_root(self, deadline: float) -> None:
        if self.root in {entry.pid for entry in self.look()}:
            _signal([self.root], signal.SIGTERM)
            while self.look() and time.monotonic() < deadline:
                time.sleep(0.005)

    def _others(self, pids: set[int]) -> set[int]:
        return {e.pid for e in self.look()} - pids or {e.pid for e in self.look(thorough=True)} - pids

    def _alive(self, read: Callable[[int], Entry | None]) -> dict[int, Entry]:
        now = {pid: read(pid) for pid in self._known}
        return {pid: entry for pid, entry in now.items() if entry and entry.born == self._known[pid].born}

    def _is_ours(self, entry: Entry, members: dict[int, Entry]) -> bool:
        return entry.session == self.root or entry.parent in members

    def _count(self, members: dict[int, Entry]) -> None:
        self._gone_s += sum(entry.own_s for pid, entry in self._known.items() if pid not in members)
        seen = self._gone_s + sum(entry.own_s for entry in members.values())
        accounted = sum(entry.own_s + entry.reaped_s for entry in members.values())
        self.cpu_s = max(self.cpu_s, seen, accounted)


def memory(members: Iterable[Entry], limit: int, nameless: Mapping[tuple[int, int], int] | None = None) -> int:
    """Bytes held together: resident pages, and where these exceed `limit`, each shared page counted only once (PSS).

    `nameless` are files in memory that are open and have no name, by device and inode; they may be mapped, or not.
    """
    members, files = list(members), nameless or {}
    held = sum(entry.memory for entry in members) + sum(files.values())
    if held <= limit or not members:
        return held
    inodes = {inode for _, inode in files}
    return sum(_proportional(entry, inodes) for entry in members) + sum(files.values())


def unnamed(members: Iterable[Entry]) -> dict[tuple[int, int], int]:
    """Bytes of each file without a name that a member holds open, by device and inode.

    Raises PermissionError when one hides its descriptors from us.
    """
    found = {}
    for entry in members:
        for file in _open_files(entry.pid):
            if file.st_nlink == 0 and stat.S_ISREG(file.st_mode):
                found[file.st_dev, file.st_ino] = file.st_blocks * 512
    return found


def _open_files(pid: int) -> Iterator[os.stat_result]:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            with suppress(OSError):
                yield os.stat(f"{folder}/{name}")
    except (FileNotFoundError, ProcessLookupError):
        return
    except PermissionError:
        now = _entry(pid)
        if now and now.memory:  # else it is about to end
            raise


def process_of(user: int) -> int | None:
    """The number of a process that runs as this user, if there is one."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == user:
                return int(name)
    return None


def _end_all_of(user: int | None) -> None:
    """Kills all processes of `user`, with no gap between them through which a new one could slip."""
    if user:
        subprocess.run(
            ("/bin/sh", "-c", "kill -KILL -1"), user=user, group=user, extra_groups=(), stderr=subprocess.DEVNULL
        )


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def listed() -> dict[int, Entry]:
    """Every process that still runs, as ps(1) knows them, for systems without /proc; groups stand in for sessions."""
    done = subprocess.run(("ps", "-A", "-o", "pid=,ppid=,pgid=,rss=,time=,stat=,lstart="), stdout=subprocess.PIPE)
    entries = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        pid, parent, group, kib, used, state, *born = line.split()
        if "Z" not in state:
            entries[int(pid)] = Entry(
                int(pid), int(parent), int(group), hash(tuple(born)), int(kib) << 10, _seconds(used), 0.0
            )
    return entries


def _seconds(time: str) -> float:
    """Of `[days-][hours:]minutes:seconds`."""
    days, _, clock = time.rpartition("-")
    parts = map(float, clock.split(":"))
    return int(days or 0) * 86_400 + reduce(lambda total, part: total * 60 + part, parts)


def _table() -> dict[int, Entry]:
    """Every process that still runs."""
    if not os.path.isdir("/proc/self"):
        return listed()
    entries = (_entry(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return {entry.pid: entry for entry in entries if entry}


def _entry(pid: int) -> Entry | None:
    """None when it has ended; fields as proc(5) counts them, from the state on."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            _, _, after_name = file.read().rpartition(b")")
    except OSError:
        return None
    state, *fields = after_name.split()
    parent, session, threads, born, pages = (int(fields[i]) for i in (0, 2, 16, 18, 20))
    own, reaped = (sum(map(int, fields[i : i + 2])) / _CLOCK for i in (10, 12))
    if state in b"ZX" and threads <= 1:  # a dead main thread may leave others running
        return None
    return Entry(pid, parent, session, born, pages * _PAGE, own, reaped)


def _add_descendants(members: dict[int, Entry]) -> None:
    pending = list(members)
    while pending:
        for pid in _children(pending.pop()):
            if pid not in members and (entry := _entry(pid)):
                members[pid] = entry
                pending.append(pid)


def _children(pid: int) -> list[int]:
    found: list[bytes] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += file.read().split()
    return list(map(int, found))


@cache
def _lists_children() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _proportional(entry: Entry, besides: set[int]) -> int:
    """Bytes of all pages but those of these files, each divided among the processes that share it."""
    found, counts = 0, True
    with (
        suppress(OSError),
        open(f"/proc/{entry.pid}/{'smaps' if besides else 'smaps_rollup'}", errors="replace") as lines,
    ):
        for line in lines:
            words = line.split()
            if "-" in words[0] and len(words) >= 5:
                counts = words[-1] != "(deleted)" or int(words[4]) not in besides
            elif counts and words[0] == "Pss:":
                found += int(words[1]) << 10
    return found or _resident(entry)


def _resident(entry: Entry) -> int:
    """Bytes that it holds now: none where it has ended meanwhile, else all, where it hides how they are shared."""
    if not os.path.isdir("/proc/self"):
        return entry.memory
    now = _entry(entry.pid)
    return now.memory if now and now.born == entry.born else 0
