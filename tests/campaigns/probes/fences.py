"""The ways to run a hostile script: without a fence, with a known gap in it, or behind a backend and the supervisor."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

from sandbox.isolation import supervisor
from sandbox.isolation.choose import choose
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.names import Name

MIB = 1 << 20
LIMITS = Limits(
    wall_s=5, memory=512 * MIB, processes=64, disk=256 * MIB, files=5000, file_size=256 * MIB, output=64 << 10
)


@dataclass(frozen=True)
class Ended:
    status: str
    returncode: int
    tail: str
    """The end of what it printed."""


class Fence(Protocol):
    def run(self, command: tuple[str, ...], out: Path, read: tuple[Path, ...], log: Path, wall_s: float) -> Ended: ...


@dataclass(frozen=True)
class Plain:
    """Isolation off, as careless agents do it: a child with everything inherited, and a time limit."""

    prefix: tuple[str, ...] = ()
    close_fds: bool = True
    end: Literal["kill", "terminate", "never"] = "kill"
    """What happens to the child when its time is up."""
    keep_output: bool = False

    def run(self, command: tuple[str, ...], out: Path, read: tuple[Path, ...], log: Path, wall_s: float) -> Ended:
        safety = ("prlimit", f"--fsize={1 << 30}", f"--data={1 << 30}", "--core=0", "--")
        with log.open("wb") as file, log.with_suffix(".errors").open("w+b") as errors:
            child = subprocess.Popen(
                [*self.prefix, *safety, *command],
                cwd=out,
                stdin=subprocess.DEVNULL,
                stdout=file if self.keep_output else subprocess.DEVNULL,
                stderr=errors,
                close_fds=self.close_fds,
            )
            try:
                status = "ok" if child.wait(wall_s) == 0 else "error"
            except subprocess.TimeoutExpired:
                status = "timeout"
                if self.end != "never":
                    child.send_signal(9 if self.end == "kill" else 15)
            errors.seek(0)
            return Ended(status, child.poll() or 0, errors.read().decode(errors="replace")[-2000:])


backend = cache(choose)  # it tests itself each time


@dataclass(frozen=True)
class Backend:
    name: Name

    def run(self, command: tuple[str, ...], out: Path, read: tuple[Path, ...], log: Path, wall_s: float) -> Ended:
        outcome = supervisor.run(Job(command, read, out), backend(self.name), replace(LIMITS, wall_s=wall_s), log)
        return Ended(outcome.status, outcome.returncode, outcome.tail)


def main() -> None:
    """One probe with this process as the harness, which may be killed for it; how the job ended goes to a file."""
    fence, command, out, read, log, wall_s = json.loads(sys.argv[1])
    aim = Path(sys.argv[2])
    aim.write_text(json.dumps(json.loads(aim.read_text()) | {"supervisor": os.getpid()}))
    way = Plain(**fence) if isinstance(fence, dict) else Backend(fence)
    ended = way.run(tuple(command), Path(out), tuple(map(Path, read)), Path(log), wall_s)
    Path(log).with_suffix(".ended").write_text(json.dumps(asdict(ended)))


if __name__ == "__main__":
    main()
