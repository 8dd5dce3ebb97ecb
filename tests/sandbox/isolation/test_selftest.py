"""The self-test, of backends that hold and of backends from which one piece is missing."""

from dataclasses import dataclass, replace

import pytest

from sandbox.isolation import selftest
from sandbox.isolation.backend import Backend
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.choose import BACKENDS
from sandbox.isolation.job import Job, Launch, Limits
from sandbox.isolation.process import Process
from tests.sandbox.lab import needs

ALL = {"file", "environment", "tcp", "unix", "write", "kill", "namespace", "daemon"}
needs_bwrap = needs("bwrap")


@pytest.mark.parametrize(
    "backend", [pytest.param(each, marks=needs(each.name), id=each.name) for each in BACKENDS if each.level]
)
def test_strong_backends_contain_all_of_it(backend: Backend) -> None:
    result = selftest.examine(backend)
    assert (set(result.contained), result.escaped, result.problem) == (ALL, (), "")
    assert str(result) == "8 of 8"


def test_plain_process_keeps_only_what_it_promises() -> None:
    assert selftest.examine(Process()).contained == ("environment", "daemon")


@dataclass(frozen=True)
class Altered:
    """A backend whose command line is changed."""

    name = "altered"
    level = 3
    protects = not_protected = ()
    selftest = "not run"
    inner: Backend
    removed: tuple[str, ...] = ()
    environment: bool = False

    def problem(self) -> None: ...

    def launch(self, job: Job, limits: Limits) -> Launch:
        launch = self.inner.launch(job, limits)
        env = {**launch.env, "OPENAI_API_KEY": "canary"} if self.environment else launch.env
        return replace(launch, argv=tuple(word for word in launch.argv if word not in self.removed), env=env)


def test_every_attempt_bites_where_nothing_holds() -> None:
    result = selftest.examine(Altered(Process(), environment=True))
    assert set(result.escaped) >= ALL - {"daemon", "namespace"}


@needs_bwrap
@pytest.mark.parametrize(
    ("removed", "escaped"),
    [
        (("--unshare-net",), "tcp"),
        (("--seccomp", "{filter}", "--disable-userns"), "namespace"),
        (("--clearenv",), "environment"),
    ],
)
def test_missing_piece_is_found(removed: tuple[str, ...], escaped: str) -> None:
    backend = Altered(Bubblewrap(), removed, environment=escaped == "environment")
    assert escaped in selftest.examine(backend).escaped


@needs_bwrap
def test_backend_that_does_not_start_says_why() -> None:
    result = selftest.examine(Altered(Bubblewrap(), ("--clearenv", "--new-session", "--dev", "/dev")))
    assert "bwrap: " in result.problem and not result.contained
