"""The choice between the backends, strongest first.

Nothing falls back silently: a backend is tried with real probes, and a plain process must be asked for by name (on
macOS there is nothing else).
"""

import sys
from dataclasses import replace

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.isolation import selftest
from sandbox.isolation.backend import Backend
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.names import Preference
from sandbox.isolation.process import Process

BACKENDS: tuple[Backend, ...] = (Bubblewrap(), Landlock(), Process())
"""Strongest first, as their names stand in ISOLATION."""


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


def _candidates(preference: Preference) -> tuple[Backend, ...]:
    if preference == "auto":
        return tuple(each for each in BACKENDS if (each.level == 0) == (sys.platform == "darwin"))
    return tuple(each for each in BACKENDS if each.name == preference)


def _tried(backend: Backend) -> Backend:
    problem = backend.problem()
    if problem is None:
        try:
            result = selftest.examine(backend)
        except LaunchError as error:
            raise IsolationUnavailable(error.message, error.hint) from error
        if not result.problem and not result.escaped:
            return replace(backend, selftest=str(result))
        problem = result.problem or f"its self-test was not contained: {', '.join(result.escaped)}"
    raise IsolationUnavailable(problem, next((hint for part, hint in backend.hints.items() if part in problem), ""))
