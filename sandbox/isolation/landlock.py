"""Landlock with a strict filter of system calls, where user namespaces are closed: Linux 6.12 or later, any user."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.isolation import child_setup, confine, seccomp
from sandbox.isolation.job import Job, Launch, Limits
from sandbox.isolation.process import launcher
from sandbox.users import unused_uid

_PROC = ("cpuinfo", "meminfo", "stat", "sys/vm/overcommit_memory", "self/maps")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_NEEDED = 6  # the first version that keeps signals and abstract sockets inside


@dataclass(frozen=True)
class Landlock:
    """Every path keeps its name; what is not allowed is refused instead of absent."""

    name: ClassVar[str] = "landlock"
    level: ClassVar[int] = 2
    protects: ClassVar[tuple[str, ...]] = (
        "files: only those named, the Python environment and /usr can be read, one folder written",
        "network and sockets: none can be opened, nor shared memory and queues between processes",
        "processes outside: neither signalled nor read",
        "secrets: an environment of allowed names, an empty home",
        "kernel: dangerous system calls are refused (seccomp)",
        "limits: wall and processor time, memory, disk, file size, processes, log size; no process outlives the job",
    )
    not_protected: ClassVar[tuple[str, ...]] = (
        "names: whether a file exists, its size and its times can be asked of any path; names beside our package and "
        "in hidden folders can be listed",
        "processes outside: their number and users can be seen; the limit on processes counts all of this user's",
        "kernel flaws in the system calls that training needs",
        "memory: shared memory that is not mapped, and what grows between two looks, come on top of the limit",
        "everything under /usr can be read",
        "no worker processes that share memory: data loaders must run in the training process",
        "GPUs: passing one through is supported but was never tested",
        "processor time and timing side channels",
    )
    hints: ClassVar[Mapping[str, str]] = {
        **seccomp.HINTS,
        "Operation not permitted": "in a container, start it with the right to use Landlock",
        "Landlock": "run a kernel of 6.12 or later with landlock in its list of security modules (lsm=)",
    }
    selftest: str = "not run"

    def problem(self) -> str | None:
        """The first of what it needs that is missing: Linux, a kernel of 6.12, libseccomp. None when all is there."""
        if sys.platform != "linux":
            return "Landlock is part of Linux only"
        version = confine.landlock()
        if version < _NEEDED:
            return f"this kernel has Landlock {version}, needed is {_NEEDED} (Linux 6.12)"
        try:
            seccomp.program(strict=True)
        except IsolationUnavailable as error:
            return error.message
        return None

    def launch(self, job: Job, limits: Limits) -> Launch:
        """The command of confine.py that starts the job under Landlock.

        Raises LaunchError for a missing path, a refused variable, a path in the written folder that is read or hidden,
        or a folder that the job's own user cannot enter; IsolationUnavailable when libseccomp is missing.
        """
        child_setup.check_paths(job)
        _check_nesting(job)
        uid = unused_uid()
        policy = {
            "limits": child_setup.kernel_limits(job, limits),
            "rules": [*_rules(job)],
            "hide": [str(path.resolve()) for path in job.hide if path.exists()],
            "uid": uid,
            "read_past_modes": uid is not None and _needs_reading_past_modes(job),
        }
        return Launch(
            launcher(policy, "{filter}", job),
            child_setup.environment(job, temporary=job.write),
            job.write,
            {"{filter}": seccomp.program(strict=True)},
            uid,
        )


def _check_nesting(job: Job) -> None:
    write = job.write.resolve()
    for path in (*job.read, *job.hide):
        if path.exists() and path.resolve().is_relative_to(write):
            hint = "move it elsewhere, or use bubblewrap"
            raise LaunchError(
                f"{path} lies in the folder the job writes, and Landlock cannot make an exception for it", hint
            )


def _rules(job: Job) -> Iterator[tuple[str, int]]:
    """Paths, and the rights over each and all below it; a path that does not exist is left out."""
    for path in (*child_setup.SYSTEM, *child_setup.FILES, *child_setup.python(), *job.read):
        yield os.path.realpath(str(path)), confine.READ
    for name in _PROC:
        yield f"/proc/{name}", confine.READ_FILE
    for name in _DEVICES:
        yield f"/dev/{name}", confine.READ_FILE | confine.WRITE_FILE
    if not child_setup.INSTALLED:
        yield str(child_setup.ROOT), confine.READ_DIR  # Python lists the folder in which it looks for our package
    for node in child_setup.device_nodes(job):
        yield str(node), confine.READ_FILE | confine.WRITE_FILE | confine.DEVICE_COMMANDS
    if job.devices:
        yield from (("/sys", confine.READ), ("/proc/driver", confine.READ), ("/proc/self/task", confine.WRITE_FILE))
    yield str(job.write.resolve()), confine.WRITE


def _needs_reading_past_modes(job: Job) -> bool:
    """Whether a user of its own needs CAP_DAC_READ_SEARCH. Raises LaunchError where we do not have it to give."""
    closed = child_setup.closed_to_others((*child_setup.python(), *job.read, job.write), parents=True)
    if closed and not child_setup.can_read_past_modes():
        hint = "open it to others (chmod o+rx), move runs, cache and Python elsewhere, or run as an ordinary user"
        raise LaunchError(f"the job runs as a user of its own, which cannot enter {closed}", hint)
    return closed is not None
