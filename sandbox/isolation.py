"""What a child process may see, and the command line that starts it so.

A backend turns a job into a launch and does nothing else; the supervisor starts it. Two exist: bubblewrap, and a plain
process that says how little it protects. Nothing falls back silently: `choose` names what the caller must print.
"""

import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.job import Job, Launch, Limits

_ROOT = Path(__file__).parents[1]
_OURS = _ROOT / "baselines"  # not the whole checkout: runs/, with every label, lies there too
_GIB = 1 << 30
_BURST = 4 * _GIB  # what a process might allocate between two looks of the supervisor's watch over memory


class Backend(Protocol):
    name: str
    level: int
    """0 protects nothing from hostile code, 3 all that `protects` lists."""
    protects: tuple[str, ...]
    not_protected: tuple[str, ...]

    def problem(self) -> str | None:
        """Why it does not work on this machine, or None after it has started a real process."""

    def launch(self, job: Job, limits: Limits) -> Launch:
        """Has no side effects. Raises LaunchError when the job names a missing path or a refused variable."""


class Bubblewrap:
    """Linux namespaces through the `bwrap` program, 0.8 or later, as root or as an ordinary user.

    Every path is mounted where it is outside, so no name is translated. Graphics cards are not visible inside.
    """

    name = "bwrap"
    level = 3
    protects: tuple[str, ...] = (
        "files: only those named, the Python environment and /usr can be read, one folder written",
        "network: there is none",
        "processes outside: neither seen nor signalled",
        "secrets: an environment of allowed names, an empty home",
        "limits: wall time, memory, file size, processes, log size; no process outlives the job",
    )
    not_protected: tuple[str, ...] = (
        "kernel flaws: system calls are not filtered (no seccomp)",
        "disk: many files can fill it, each within the limit",
        "memory: up to 2 GiB in /tmp and /dev/shm, and what grows within 0.2 s, come on top of the limit",
        "everything under /usr can be read",
        "run as root, the job keeps root's user id, without capabilities",
        "processor time and timing side channels",
    )

    def problem(self) -> str | None:
        if shutil.which("bwrap") is None:
            return "bwrap is not installed"
        with tempfile.TemporaryDirectory() as folder:
            launch = self.launch(Job(("/usr/bin/true",), (), Path(folder)), Limits(wall_s=10, memory=_GIB))
            try:
                done = subprocess.run(launch.argv, env=launch.env, capture_output=True, text=True, timeout=10)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"bwrap does not run: {error}"
        return None if done.returncode == 0 else f"bwrap does not work here: {done.stderr.strip()}"

    def launch(self, job: Job, limits: Limits) -> Launch:
        _check_paths(job)
        variables = _environment(job, temporary=Path("/tmp"))
        argv = (
            shutil.which("bwrap") or "bwrap",
            *_NAMESPACES,
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *_system(),
            *_mounts((*_python(), *job.read), job.write),
            *_hidden(job.hide),
            *("--remount-ro", "/", "--chdir", str(job.write), "--"),
            *_prlimit(limits, f"--nproc={limits.processes}", f"--data={limits.memory + _BURST}"),
            *job.argv,
        )
        return Launch(argv, env={}, cwd=Path("/"))


class Process:
    """A plain child process, for machines where nothing better works: it fences in mistakes, not intentions."""

    name = "process"
    level = 0
    protects: tuple[str, ...] = (
        "secrets: an environment of allowed names, an empty home",
        "limits: wall time, memory, file size, processes, log size",
    )
    not_protected: tuple[str, ...] = (
        "files: everything this user can read or write, held-out labels and keys included",
        "network: open",
        "processes outside: can be seen, signalled and, by memory and /proc, read",
        "kernel flaws: system calls are not filtered (no seccomp)",
        "a process that detaches itself within 0.2 s outlives the job",
    )

    def problem(self) -> str | None:
        return None

    def launch(self, job: Job, limits: Limits) -> Launch:
        _check_paths(job)
        return Launch((*_prlimit(limits), *job.argv), _environment(job, temporary=job.write), job.write)


def choose(preference: Literal["auto", "bwrap", "process"] = "auto") -> Backend:
    """The strongest backend that works here, or the one asked for; the caller prints its level and name.

    Raises IsolationUnavailable, with the reason, when bubblewrap is asked for and does not work.
    """
    if preference == "process":
        return Process()
    backend = Bubblewrap()
    problem = backend.problem()
    if problem is None:
        return backend
    if preference == "bwrap":
        raise IsolationUnavailable(problem, "install bubblewrap 0.8 or later and allow user namespaces")
    return Process()


_NAMESPACES = (
    *("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL"),
    "--new-session",  # no way to type into the terminal
    "--die-with-parent",  # "parent" is the thread that starts it: that thread must wait for the end
    "--clearenv",
)

_REFUSED = re.compile(r".*(KEY|TOKEN|SECRET|PASSW).*|LD_.*|.*_PROXY", re.IGNORECASE)


def _environment(job: Job, temporary: Path) -> dict[str, str]:
    """All the child gets: nothing is inherited."""
    for name in job.env:
        if _REFUSED.fullmatch(name):
            raise LaunchError(
                f"the variable {name} must not enter the sandbox", "hand over what the job needs as a file"
            )
    installed = str(_ROOT) in site.getsitepackages()
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "sandbox",  # torch asks for a name to call its caches by
        "HOME": str(job.write),
        "TMPDIR": str(temporary),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # modules in the working folder, which the job writes, are not imported by name
        "PYTHONNOUSERSITE": "1",
        **({} if installed else {"PYTHONPATH": str(_ROOT)}),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        **job.env,
    }


def _check_paths(job: Job) -> None:
    for path in (job.write, *job.read, *job.hide):
        if not path.is_absolute():
            raise LaunchError(f"the job's path {path} is not absolute")
    if not job.write.is_dir():
        raise LaunchError(f"the job's folder {job.write} does not exist", "make it first")
    for path in job.read:
        if not path.exists():
            raise LaunchError(f"the job may read {path}, but it does not exist")
    for path in job.hide:
        if path.exists() and not path.is_dir():
            raise LaunchError(f"{path} cannot be hidden: it is not a folder", "hide the folder it lies in")


def _prlimit(limits: Limits, *more: str) -> tuple[str, ...]:
    """Limits that the kernel keeps; memory and time are the supervisor's."""
    if not Path("/usr/bin/prlimit").exists():
        return ()
    return ("/usr/bin/prlimit", f"--fsize={limits.file_size}", "--core=0", *more, "--")


def _system() -> list[str]:
    """The smallest root in which Python and torch run."""
    argv = ["--ro-bind", "/usr", "/usr"]
    for top in filter(os.path.lexists, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        argv += ["--symlink", os.readlink(top), top] if os.path.islink(top) else ["--ro-bind", top, top]
    for file in ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/sys/devices/system"):
        argv += ["--ro-bind-try", file, file]
    argv += ["--proc", "/proc", "--remount-ro", "/proc"]  # root without capabilities could still write /proc/sys
    argv += ["--dev", "/dev"]
    for folder in ("/dev/shm", "/tmp"):
        argv += ["--size", str(_GIB), "--perms", "1777", "--tmpfs", folder]
    return [*argv, "--remount-ro", "/dev"]


def _python() -> tuple[Path, ...]:
    return Path(sys.prefix), Path(sys.base_prefix), _OURS


def _mounts(read: Iterable[Path], write: Path) -> list[str]:
    """Each path where it really lies, outer folders first so that none covers what is in it; links lead to them."""
    modes = {path.resolve(): "--ro-bind" for path in read} | {write.resolve(): "--bind"}
    argv = [word for path in sorted(modes) for word in (modes[path], str(path), str(path))]
    reachable = [Path("/usr"), *modes]
    for name in sorted({Path(os.path.abspath(path)) for path in (*read, write)}):
        if not any(name.is_relative_to(path) for path in reachable):
            argv += ["--symlink", str(name.resolve()), str(name)]
            reachable.append(name)
    return argv


def _hidden(folders: Iterable[Path]) -> list[str]:
    places = [str(folder.resolve()) for folder in folders if folder.exists()]
    return [word for place in places for word in ("--tmpfs", place, "--remount-ro", place)]
