"""Random troubles of a run: what may happen between its start and its report, and what must hold all the while."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.cache import entries
from agent.recheck.verify import verify
from agent.record import runs
from agent.record.events import EventLog
from agent.record.paths import RunPaths
from tests.agent.command import ROOT, TINY, Kdagent, Said

IDEA = ("run", "soft labels", *TINY, "--yes")
NEXT = ("run", "last 3 layers", *TINY, "--yes")
NOBODY = 65534
LONGEST = 240.0  # seconds until a command has ended


@dataclass(frozen=True)
class Circumstances:
    isolation: str
    user: int
    """0 for root."""
    warm: bool
    """Whether the cache has the rows and the teacher already."""

    def __str__(self) -> str:
        return f"{self.isolation}, {'root' if self.user == 0 else 'a user'}, {'warm' if self.warm else 'cold'} cache"


@dataclass
class World:
    """A folder of runs with a cache, and kdagent in it."""

    home: Path
    puppets: Path
    about: Circumstances
    draw: random.Random
    done: list[str] = field(default_factory=list)
    """What happened, in order."""
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        environment = {"KDAGENT_PUPPETS": str(self.puppets)}
        self.kdagent = Kdagent(self.home / "runs", self.home / "cache", environment, "tests.campaigns.troubles.victim")
        self.home.chmod(0o755)
        os.chown(self.home, self.about.user, self.about.user)

    @property
    def paths(self) -> RunPaths:
        return RunPaths(min((self.home / "runs").iterdir()))

    @property
    def ended(self) -> bool:
        return (self.home / "runs").exists() and EventLog(self.paths.events).count("sealed") > 0

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """As the user of this world; a group of its own, so that all of it can be killed at once."""
        user = self.about.user
        drop = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()
        return subprocess.Popen(
            [*drop, sys.executable, "-m", self.kdagent.module, *words],
            **{"cwd": ROOT, "env": self.kdagent.variables, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
            start_new_session=True,
        )

    def go(self, *words: str) -> Said:
        process = self.start(*words)
        out, err = process.communicate(timeout=LONGEST)
        return Said(process.returncode, out.decode(), err.decode())

    def complain(self, what: str) -> None:
        self.complaints.append(f"{what} [{self.about}; {', '.join(self.done)}]")

    # ── what may happen ─────────────────────────────────────────────────────────────────────────────────────────────

    def forth(self) -> tuple[str, ...]:
        words = ("resume", "@last", "--yes") if (self.home / "runs").exists() else IDEA
        return words if words[0] == "resume" else (*words, "--isolation", self.about.isolation)

    def kill(self) -> None:
        """SIGKILL at a moment that is uniform in time: to the whole group, kdagent alone or one process."""
        process, whom = self.start(*self.forth()), self.draw.choice(("group", "parent", "child"))
        self.done.append(f"kill the {whom}")
        self._wait(process)
        with suppress(ProcessLookupError, IndexError):
            if whom == "group":
                for pid in family(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            elif whom == "parent":
                os.kill(process.pid, signal.SIGKILL)
            else:
                os.kill(self.draw.choice(family(process.pid)[1:]), signal.SIGKILL)
        self._end(process, (0, -9, 5, 137) if whom == "child" else (0, -9))

    def stop(self) -> None:
        process = self.start(*self.forth())
        self.done.append("stop")
        self._wait(process)
        process.send_signal(self.draw.choice((signal.SIGINT, signal.SIGTERM)))
        self._end(process, (0, 130, -2, -15))  # by the signal itself in the moment before it listens

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.draw.uniform(0.3, self.seconds))

    seconds = 6.0
    """Longest wait before a kill or a stop: about what a run takes here."""

    def _end(self, process: subprocess.Popen[bytes], codes: tuple[int, ...]) -> None:
        _, err = process.communicate(timeout=LONGEST)
        if process.returncode not in codes:
            self.complain(f"exit code {process.returncode}: {err.decode()[-300:]}")
        if runs_there := (self.home / "runs").exists():
            self.look()
        assert runs_there or process.returncode != 0

    def cache_rm(self) -> None:
        self._tidy("cache", "rm", "--all", "--yes")

    def gc(self) -> None:
        self._tidy("gc", "--yes")

    def _tidy(self, *words: str) -> None:
        self.done.append(" ".join(words[:2]))
        if (self.home / "cache").exists() and (said := self.go(*words)).code not in (0, 2):
            self.complain(f"{words}: exit code {said.code}: {said.err[-300:]}")

    def damage(self) -> None:
        """One bit of one file in the cache."""
        files = sorted(path for path in (self.home / "cache").rglob("*") if path.is_file() and path.stat().st_size)
        aside = {"arrow", "runs"}  # a library's own, and the folders that use the cache
        inside = [path for path in files if path.suffix != ".lock"]
        files = [path for path in inside if path.relative_to(self.home / "cache").parts[0] not in aside]
        if files:
            file = self.draw.choice(files)
            self.done.append(f"damage {file.relative_to(self.home)}")
            flip(file, self.draw)

    def damage_at_work(self) -> None:
        """The same, in what is finished, while the run is at work."""
        process = self.start(*self.forth())
        self._wait(process)
        files = [entry / name for entry in (self.home / "cache").glob("*/*/") for name in entries.manifest(entry) or {}]
        if files := [file for file in files if file.exists() and file.stat().st_size]:
            file = self.draw.choice(sorted(files))
            self.done.append(f"damage {file.relative_to(self.home)} at work")
            flip(file, self.draw)
        self._end(process, (0,))

    def review(self) -> None:
        if (self.home / "runs").exists() and self.paths.plan.exists():
            self.done.append("comment")
            if (said := self.go("review", "@last", "--comment", "some words")).code not in (0, 2):
                self.complain(f"review: exit code {said.code}: {said.err[-300:]}")

    def pass_on(self) -> None:
        """Export, import elsewhere, verify there."""
        if not (self.home / "runs").exists():
            return
        self.done.append("export and import")
        archive, elsewhere = self.home / "run.tar.gz", self.home / "elsewhere"
        archive.unlink(missing_ok=True)
        shutil.rmtree(elsewhere, ignore_errors=True)
        if self.go("export", "@last", str(archive)).code:
            return  # refused, as an unfinished run may be
        if (said := self.go("import", str(archive), "--runs-dir", str(elsewhere))).code:
            self.complain(f"import: exit code {said.code}: {said.err[-300:]}")
            return
        self.look(RunPaths(next(elsewhere.iterdir())))

    def look(self, paths: RunPaths | None = None) -> None:
        """`verify` accuses nobody at any stop."""
        paths = paths or self.paths
        if paths.plan.exists() and (found := verify(paths).findings):
            self.complain(f"verify: {found[0]} (of {len(found)})")

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """The run goes on to its report, the next and unrelated one works, and nobody is accused."""
        for _ in range(3):
            if self.ended:
                break
            said = self.go(*self.forth())
        if not self.ended:
            return self.complain(f"no report: exit code {said.code}: {said.err[-300:]}")
        self.look()
        if runs.read(self.paths)["status"] != "succeeded":
            self.complain(f"ended as {runs.read(self.paths)['status']}: {runs.read(self.paths)['reason']}")
        said = self.go(*NEXT, "--isolation", self.about.isolation)
        if said.code:
            return self.complain(f"the next run: exit code {said.code}: {said.err[-300:]}")
        self.look(RunPaths(max((self.home / "runs").iterdir())))
        return None


def flip(path: Path, draw: random.Random) -> None:
    """One bit of the file; its time and size stay."""
    data, status = bytearray(path.read_bytes()), path.stat()
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def weights(paths: RunPaths) -> dict[str, str]:
    """What every trial ended with."""
    trials = (event["data"] for event in EventLog(paths.events).read() if event["kind"] == "trial")
    return {f"{each['arm']} {each['track']} {each['seed']}": each["weights"] for each in trials}


ACTIONS: tuple[Callable[[World], None], ...] = (
    *(World.kill, World.kill, World.stop, World.cache_rm, World.gc),
    *(World.damage, World.damage_at_work, World.review, World.pass_on),
)


def sequence(world: World, most: int = 5) -> None:
    """Some troubles in random order, and the end."""
    started = time.monotonic()
    for action in world.draw.choices(ACTIONS, k=world.draw.randint(1, most)):
        action(world)
    world.finish()
    world.done.append(f"{time.monotonic() - started:.0f} s")
