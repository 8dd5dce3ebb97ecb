"""Linux namespaces and a filter of system calls, through the `bwrap` program, as root or as an ordinary user."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.isolation import child_setup, seccomp
from sandbox.isolation.job import Job, Launch, Limits
from sandbox.users import unused_uid

_PRLIMIT, _SETPRIV = "/usr/bin/prlimit", "/usr/bin/setpriv"
_GIB = 1 << 30


@dataclass(frozen=True)
class Bubblewrap:
    """Every path is mounted where it is outside, so no name is translated. Needs bwrap 0.8, prlimit and setpriv.

    An ordinary user gets a user namespace. Root makes the mounts itself and gives each job a user id of its own.
    """

    name: ClassVar[str] = "bwrap"
    level: ClassVar[int] = 3
    protects: ClassVar[tuple[str, ...]] = (
        "files: only those named, the Python environment and /usr can be read, one folder written",
        "network: there is none",
        "processes outside: neither seen nor signalled",
        "secrets: an environment of allowed names, an empty home",
        "kernel: dangerous system calls are refused (seccomp)",
        "limits: wall and processor time, memory, disk, file size, processes, log size; no process outlives the job",
    )
    not_protected: ClassVar[tuple[str, ...]] = (
        "kernel flaws in the system calls that training needs",
        "memory: files in /tmp and /dev/shm, up to half the limit, shared memory that is not mapped, and what grows "
        "between two looks come on top of the limit",
        "everything under /usr can be read",
        "GPUs: passing one through is supported but was never tested",
        "processor time and timing side channels",
    )
    hints: ClassVar[Mapping[str, str]] = {  # source of the messages: bubblewrap 0.8
        "not installed": "install it, for example: apt install bubblewrap util-linux",
        **seccomp.HINTS,
        "namespaces exceeded": "allow user namespaces: sysctl user.max_user_namespaces=10000",
        "No permissions to create": "allow user namespaces: in a container, start it with them; "
        "else ask its administrator",
        "setting up uid map": "on Ubuntu, give bwrap an AppArmor profile that grants `userns`",
        "RTM_NEWADDR": "on Ubuntu, give bwrap an AppArmor profile that grants `userns`",
        "mount proc": "in a nested container, start the outer one with an unmasked /proc",
        "Operation not permitted": "in a container, start it with the right to make namespaces",
    }
    selftest: str = "not run"

    def problem(self) -> str | None:
        """The first of what it needs that is missing: Linux, a program, libseccomp. None when all is there."""
        if sys.platform != "linux":
            return "bubblewrap is for Linux only"
        for program in ("bwrap", _PRLIMIT, _SETPRIV):
            if shutil.which(program) is None:
                return f"{program} is not installed"
        try:
            seccomp.program()
        except IsolationUnavailable as error:
            return error.message
        return None

    def launch(self, job: Job, limits: Limits) -> Launch:
        """The `bwrap` command that starts the job in namespaces of its own.

        Raises LaunchError for a missing path, a refused variable, or a file that the job's own user cannot read;
        IsolationUnavailable when libseccomp is missing.
        """
        child_setup.check_paths(job)
        variables = child_setup.environment(job, temporary=Path("/tmp"))
        uid = unused_uid()
        if uid is not None:
            _check_readable(job)
        argv = (
            shutil.which("bwrap") or "bwrap",
            *_namespaces(own_user=uid is not None),
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *_system(job, min(_GIB, limits.memory // 4)),
            *_mounts((*child_setup.python(), *job.read), job.write),
            *_hidden(job.hide),
            *("--remount-ro", "/", "--chdir", str(job.write), "--seccomp", "{filter}", "--"),
            *_become(uid),
            _PRLIMIT,
            *(f"--{name}={soft}:{hard}" for name, (soft, hard) in child_setup.kernel_limits(job, limits).items()),
            *("--", *job.argv),
        )
        attached = _stubs(job, os.getuid() if uid is None else uid) | {"{filter}": seccomp.program()}
        return Launch(argv, {}, Path("/"), attached, uid)


def _namespaces(own_user: bool) -> Iterator[str]:
    if own_user:  # of root's powers only those that are needed to become another user
        yield from ("--cap-drop", "ALL", *_pairs("--cap-add", ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")))
    else:
        yield from ("--unshare-user", "--disable-userns", "--cap-drop", "ALL")
    yield from ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--hostname", "sandbox", "--clearenv")
    yield "--new-session"  # no way to type into the terminal
    yield "--die-with-parent"  # "parent" is the thread that starts it: that thread must wait for the end


def _become(uid: int | None) -> tuple[str, ...]:
    if uid is None:
        return ()
    nothing = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
    return (_SETPRIV, f"--reuid={uid}", f"--regid={uid}", *nothing, "--")


def _check_readable(job: Job) -> None:
    closed = child_setup.closed_to_others((*child_setup.python(), *job.read), parents=False)
    if closed:
        hint = f"open it to others (chmod -R o+rX {closed}), or run as an ordinary user"
        raise LaunchError(f"the job runs as a user of its own, which cannot read {closed}", hint)


def _stubs(job: Job, uid: int) -> dict[str, bytes]:
    """The files of /etc that programs ask for, with one line each, by the word that stands for them."""
    return {
        "{passwd}": f"sandbox:x:{uid}:{uid}::{job.write}:/bin/sh\n".encode(),
        "{group}": f"sandbox:x:{uid}:\n".encode(),
        "{hosts}": b"127.0.0.1 localhost\n",
    }


def _system(job: Job, scratch: int) -> Iterator[str]:
    """The smallest root in which Python and torch run, with that many bytes in each of /tmp and /dev/shm."""
    for top in filter(os.path.lexists, child_setup.SYSTEM):
        yield from ("--symlink", os.readlink(top), top) if os.path.islink(top) else ("--ro-bind", top, top)
    for path in (*child_setup.FILES, *(("/sys",) if job.devices else ())):
        yield from (*_parents(Path(path)), "--ro-bind-try", path, path)
    for name in ("passwd", "group", "hosts"):
        yield from ("--perms", "0444", "--ro-bind-data", f"{{{name}}}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
    for node in map(str, child_setup.device_nodes(job)):
        yield from ("--dev-bind", node, node)
    for folder in ("/dev/shm", "/tmp"):
        yield from ("--size", str(scratch), "--perms", "1777", "--tmpfs", folder)
    yield from ("--remount-ro", "/dev")


def _mounts(read: Iterable[Path], write: Path) -> list[str]:
    """Each path where it really lies, outer folders first so that none covers what is in it; links lead to them."""
    modes = {path.resolve(): "--ro-bind" for path in read} | {write.resolve(): "--bind"}
    argv = [word for path in sorted(modes) for word in (*_parents(path), modes[path], str(path), str(path))]
    reachable = [Path("/usr"), *modes]
    for name in sorted({Path(os.path.abspath(path)) for path in (*read, write)}):
        if not any(name.is_relative_to(path) for path in reachable):
            argv += [*_parents(name), "--symlink", str(name.resolve()), str(name)]
            reachable.append(name)
    return argv


def _hidden(folders: Iterable[Path]) -> list[str]:
    places = [str(folder.resolve()) for folder in folders if folder.exists()]
    return [word for place in places for word in ("--tmpfs", place, "--remount-ro", place)]


def _parents(path: Path) -> Iterator[str]:
    """Made by name: those that bwrap makes by itself are closed to everybody but their owner."""
    return _pairs("--dir", [str(parent) for parent in reversed(path.parents[:-1])])


def _pairs(option: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (option, value)
