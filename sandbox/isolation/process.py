"""A plain child process, for machines where nothing better works: it contains mistakes, not malice."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.isolation import child_setup
from sandbox.isolation.job import Job, Launch, Limits

_LAUNCHER = Path(__file__).with_name("confine.py")


@dataclass(frozen=True)
class Process:
    """Never chosen unless asked for by name, or where the system is macOS."""

    name: ClassVar[str] = "process"
    level: ClassVar[int] = 0
    protects: ClassVar[tuple[str, ...]] = (
        "secrets: an environment of allowed names, an empty home",
        "limits: wall and processor time, memory, disk, file size, processes, log size",
    )
    not_protected: ClassVar[tuple[str, ...]] = (
        "files: everything this user can read or write, held-out labels and keys included",
        "network: open",
        "processes outside: can be seen, signalled and, by memory and /proc, read; those of kdagent itself too",
        "kernel flaws: system calls are not filtered",
        "a process that detaches itself outlives the job where kdagent is killed, and on macOS in any case",
    )
    hints: ClassVar[Mapping[str, str]] = {}
    selftest: str = "not run"

    def problem(self) -> str | None:
        """None: it works everywhere."""
        return None

    def launch(self, job: Job, limits: Limits) -> Launch:
        """The command of confine.py that starts the job under limits alone.

        Raises LaunchError for a missing path or a refused variable.
        """
        child_setup.check_paths(job)
        policy = {"limits": child_setup.kernel_limits(job, limits), "rules": None}
        return Launch(launcher(policy, "-", job), child_setup.environment(job, temporary=job.write), job.write)


def launcher(policy: Mapping[str, object], program: str, job: Job) -> tuple[str, ...]:
    """The command line of sandbox/isolation/confine.py; isolated, without `site`, so that nothing else is imported."""
    return (sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(policy), program, *job.argv)
