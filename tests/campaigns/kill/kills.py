"""One run that is killed again and again, and what is left of it each time.

Every kill is a SIGKILL of a real process. A chain is one run: each link goes on from what the kill before left, and is
killed at the next place; at the end the run is resumed and nobody disturbs it. So an event costs a start of kdagent
instead of a whole run, and what every single kill left is held against the undisturbed run as well: its log must be the
beginning of that run's, and `verify` must have nothing to say.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.recheck.verify import verify
from agent.record.paths import RunPaths
from tests.agent.command import TINY, Kdagent
from tests.campaigns.kill.ledger import Event, finished, ledger

IDEA = "soft labels"
WORDS = ("run", IDEA, *TINY, "--attempts", "2", "--yes")
LONGEST = 600.0
"""Seconds until a run has come as far as it must."""


@dataclass(frozen=True)
class AtEvent:
    """Right before an event is written, or right after it is on disk; events count from 1."""

    edge: str
    number: int

    def __str__(self) -> str:
        return f"{self.edge} event {self.number}"


@dataclass(frozen=True)
class Inside:
    """So many seconds after a step has begun to write."""

    step: str
    begins: str
    """Pattern of a file of the run with which the step begins."""
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s into {self.step}"


Moment = AtEvent | Inside


@dataclass
class Killed:
    """What one kill left."""

    moment: Moment
    power: bool
    """Whether every process went at once, as in a power cut, or kdagent alone."""
    complaints: list[str]


@dataclass
class Chain:
    kdagent: Kdagent
    expected: list[Event]
    """The ledger of the run that nobody disturbed."""
    killed: list[Killed] = field(default_factory=list)
    trained: dict[Path, int] = field(default_factory=dict)
    """Files of finished trials, and when they were written."""

    @property
    def paths(self) -> RunPaths:
        [folder] = self.kdagent.runs.iterdir()
        return RunPaths(folder)

    def kill(self, moment: Moment, power: bool) -> bool:
        """Start the run or go on with it, and kill it at that moment. False where it ended before that came."""
        process = self._start(moment)
        everybody = [process.pid, *descendants(process.pid)] if (came := self._wait(process, moment)) else []
        process.kill()
        for pid in everybody if power else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        if came:
            self.killed.append(Killed(moment, power, [*outlived(everybody), *self.complaints()]))
        return came

    def end(self, kdagent: Kdagent) -> list[str]:
        """Resume the run to its end; what is wrong with it then."""
        said = kdagent("resume", "@last", "--yes")
        return [*([f"exit code {said.code}: {said.err}"] if said.code else []), *self.complaints()]

    def _start(self, moment: Moment) -> subprocess.Popen[bytes]:
        words = ("resume", "@last", "--yes") if self.killed else WORDS
        if isinstance(moment, Inside):
            return self.kdagent.start(*words)
        victim = Kdagent(self.kdagent.runs, self.kdagent.cache, module="tests.campaigns.kill.victim")
        return victim.start(moment.edge, str(moment.number), *words)

    def _wait(self, process: subprocess.Popen[bytes], moment: Moment) -> bool:
        """Until the moment has come; False where the process ended before."""
        before, deadline = set(self._begun(moment)), time.monotonic() + LONGEST
        while state(process.pid) not in "TZ" and not set(self._begun(moment)) - before:
            assert time.monotonic() < deadline, f"{moment} did not come"
            time.sleep(0.005)
        if isinstance(moment, Inside):
            time.sleep(moment.seconds)
        return state(process.pid) != "Z"

    def _begun(self, moment: Moment) -> Iterator[tuple[Path, int]]:
        if isinstance(moment, Inside):
            for path in self.kdagent.runs.glob(f"*/{moment.begins}"):
                with suppress(FileNotFoundError):  # it may have got its name meanwhile
                    yield path, path.stat().st_mtime_ns

    def complaints(self) -> list[str]:
        """What is not as in the undisturbed run, as far as this one has come."""
        found, now = [], ledger(self.paths)
        wrong = next((pair for pair in zip(now, self.expected, strict=False) if pair[0] != pair[1]), None)
        if wrong or len(now) > len(self.expected):
            found.append(f"ledger: {wrong or now[len(self.expected)]}")
        again = [path for path, time in self.trained.items() if not path.exists() or path.stat().st_mtime_ns != time]
        found += [f"written again: {path}" for path in again]
        self.trained = finished(self.paths)
        return found + [f"verify: {finding}" for finding in verify(self.paths).findings]


def descendants(pid: int) -> list[int]:
    """Every process below one, by its threads' children."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children = [int(word) for word in path.read_text().split()]
            found += [each for child in children for each in (child, *descendants(child))]
    return found


def state(pid: int) -> str:
    """One letter: T is stopped, Z ended and not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def outlived(pids: list[int]) -> list[str]:
    """The processes that are still there ten seconds after kdagent was killed."""
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if state(pid) != "Z"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [f"still there: process {pid}" for pid in left]
