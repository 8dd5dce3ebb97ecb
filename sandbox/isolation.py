"""The backends, strongest first, and the choice between them.

A backend turns a job into a launch and does nothing else; the supervisor starts it. Nothing falls back silently: what
works is tried with real probes, and a plain process must be asked for by name (on macOS there is nothing else).
"""

import sys
from dataclasses import replace
from typing import Literal, Protocol

from sandbox.bubblewrap import Bubblewrap
from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.job import Job, Launch, Limits
from sandbox.landlock import Landlock
from sandbox.process import Process

__all__ = ["Backend", "Bubblewrap", "Landlock", "Preference", "Process", "choose"]

Preference = Literal["auto", "bwrap", "landlock", "process"]

_HINTS = {
    "not installed": "install it, for example: apt install bubblewrap util-linux",
    "filtered": "install libseccomp, for example: apt install libseccomp2",
    "namespaces exceeded": "allow user namespaces: sysctl user.max_user_namespaces=10000",
    "No permissions to create": "allow user namespaces: in a container, start it with them; else ask its administrator",
    "setting up uid map": "on Ubuntu, give bwrap an AppArmor profile that grants `userns`",
    "RTM_NEWADDR": "on Ubuntu, give bwrap an AppArmor profile that grants `userns`",
    "mount proc": "in a nested container, start the outer one with an unmasked /proc",
    "Operation not permitted": "in a container, start it with the right to make namespaces",
    "Landlock": "run a kernel of 6.12 or later with landlock in its list of security modules (lsm=)",
}
"""What to do next, by a part of the problem. Source of the messages: bubblewrap 0.8."""


class Backend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def level(self) -> int:
        """0 protects nothing from hostile code, 3 all that `protects` lists."""

    @property
    def protects(self) -> tuple[str, ...]: ...

    @property
    def not_protected(self) -> tuple[str, ...]: ...

    @property
    def selftest(self) -> str:
        """How many probes of the self-test it contained, e.g. "8 of 8"."""

    def problem(self) -> str | None:
        """What it lacks on this machine, as far as that can be known without starting a process."""

    def launch(self, job: Job, limits: Limits) -> Launch:
        """Has no side effects. Raises LaunchError when the job names a missing path or a refused variable."""


def choose(preference: Preference = "auto") -> Backend:
    """The strongest backend that works here, or the one asked for; the caller prints its level and name.

    It has contained its self-test. Raises IsolationUnavailable when none has, or not the one asked for, naming why.
    """
    problems = {}
    for backend in _candidates(preference):
        try:
            return _tried(backend)
        except IsolationUnavailable as error:
            problems[backend.name] = error
    message = "; ".join(f"{name}: {error.message}" for name, error in problems.items())
    hints = [error.hint for error in problems.values() if error.hint]
    raise IsolationUnavailable(
        message, "; or ".join([*dict.fromkeys(hints), "run without protection: --isolation process"])
    )


def _candidates(preference: Preference) -> "tuple[Bubblewrap | Landlock | Process, ...]":
    if preference == "auto":
        return (Process(),) if sys.platform == "darwin" else (Bubblewrap(), Landlock())
    return tuple(each for each in (Bubblewrap(), Landlock(), Process()) if each.name == preference)


def _tried(backend: "Bubblewrap | Landlock | Process") -> Backend:
    from sandbox import selftest  # it starts a job, so it needs the supervisor, which needs this file

    problem = backend.problem()
    if problem is None:
        try:
            result = selftest.examine(backend)
        except LaunchError as error:
            raise IsolationUnavailable(error.message, error.hint) from error
        if not result.problem and not result.escaped:
            return replace(backend, selftest=str(result))
        problem = result.problem or f"its self-test was not contained: {', '.join(result.escaped)}"
    raise IsolationUnavailable(problem, next((hint for part, hint in _HINTS.items() if part in problem), ""))
