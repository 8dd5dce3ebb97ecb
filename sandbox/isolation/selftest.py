"""A few escapes tried behind a backend, in one short child, before anything else is trusted to it."""

import fcntl
import json
import select
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.isolation import child_setup, escape
from sandbox.isolation.backend import Backend
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.supervisor import run

_LIMITS = Limits(wall_s=20, memory=1 << 30, disk=1 << 20)
_NAMES = tuple(attempt.__name__ for attempt in escape.ATTEMPTS)
_FROM_THE_SYSTEM = ("PWD", "SHLVL", "_", "LC_CTYPE", "__CF_USER_TEXT_ENCODING")


@dataclass(frozen=True)
class Result:
    """Which attempts a backend contained, of those that it promises to contain."""

    contained: tuple[str, ...]
    escaped: tuple[str, ...]
    problem: str
    """The reason why not all could be tried; empty when all were."""

    def __str__(self) -> str:
        return f"{len(self.contained)} of {len(self.contained) + len(self.escaped)}"


def examine(backend: Backend) -> Result:
    """Tries the escapes that the backend promises to contain. Raises LaunchError when no child can be started."""
    names = _promised(backend)
    with tempfile.TemporaryDirectory() as name, _Outside(Path(name)) as outside:
        outcome = run(outside.job(names), backend, _LIMITS, Path(name) / "log.txt")
        said = set(outcome.tail.splitlines())
        done = outside.reached() | {name for name in ("file", "environment", "namespace") if f"did {name}" in said}
    tried = [name for name in names if said & {f"did {name}", f"tried {name}"}]
    problem = "" if list(names) == tried and outcome.status == "ok" else outcome.tail or outcome.status
    return Result(tuple(n for n in tried if n not in done), tuple(n for n in names if n in done), problem)


def _promised(backend: Backend) -> tuple[str, ...]:
    if backend.level > 0:
        return _NAMES
    return ("environment", "daemon") if sys.platform == "linux" else ("environment",)


class _Outside:
    """Targets that must stay out of reach, and whether they did: a file, two listening sockets, a process, a folder."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)  # for a job that runs as a user of its own
        self._secret, self._written = folder / "outside" / "secret", folder / "inside"
        for place in (self._secret.parent, self._written):
            place.mkdir()
        self._secret.write_text("secret")
        self._open = ExitStack()
        self._tcp = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._unix = self._open.enter_context(socket.socket(socket.AF_UNIX))
        self._unix.bind(str(self._secret.with_name("socket")))
        self._unix.listen()
        self._victim = subprocess.Popen(["/bin/sleep", "60"])

    def job(self, names: tuple[str, ...]) -> Job:
        targets = {
            "attempts": names,
            "secret": str(self._secret),
            "port": self._tcp.getsockname()[1],
            "socket": self._unix.getsockname(),
            "victim": self._victim.pid,
        }
        script = Path(escape.__file__)
        job = Job((sys.executable, "-I", "-S", str(script), json.dumps(targets)), (script,), self._written)
        variables = [*child_setup.environment(job, self._written), *_FROM_THE_SYSTEM]
        return replace(job, argv=(*job.argv[:-1], json.dumps(targets | {"variables": variables})))

    def reached(self) -> set[str]:
        """The names of the attempts that had an effect."""
        called, _, _ = select.select([self._tcp, self._unix], [], [], 0)
        effects = {
            "tcp": self._tcp in called,
            "unix": self._unix in called,
            "write": self._secret.with_name("planted").exists(),
            "kill": self._victim.poll() is not None,
            "daemon": self._daemon_lives(),
        }
        return {name for name, happened in effects.items() if happened}

    def _daemon_lives(self) -> bool:
        try:
            with (self._written / "daemon").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def __enter__(self) -> "_Outside":
        return self

    def __exit__(self, *_: object) -> None:
        self._victim.kill()
        self._victim.wait()
        self._open.close()
