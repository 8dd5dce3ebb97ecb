"""The choice between the backends, strongest first.

Nothing falls back silently: what works is tried with real probes, and a plain process must be asked for by name (on
macOS there is nothing else).
"""

import sys
from dataclasses import replace

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.isolation import selftest
from sandbox.isolation.backend import Backend, Preference
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.process import Process

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
