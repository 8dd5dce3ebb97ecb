"""A folder with something to read, something to write and something secret, and the backends to run code in it."""

import sys
from functools import cache
from pathlib import Path

import pytest

from sandbox.errors import IsolationUnavailable
from sandbox.isolation.backend import Backend
from sandbox.isolation.choose import choose
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.supervisor import Outcome, run

LIMITS = Limits(wall_s=60, memory=2 << 30)
ROOT = Path(__file__).parents[2]


class Lab:
    """`data` may be read, `out` written, `secret` neither."""

    def __init__(self, folder: Path) -> None:
        self.data, self.out, self.secret = (folder / name for name in ("data", "out", "secret"))
        for place in (self.data, self.out, self.secret):
            place.mkdir()
            (place / "file").write_text(place.name)
        self.log = folder / "log.txt"

    def run(self, code: str, backend: Backend, limits: Limits = LIMITS, **job: object) -> Outcome:
        made = Job((sys.executable, "-c", code), **{"read": (self.data,), "write": self.out, **job})  # type: ignore[arg-type]
        return run(made, backend, limits, self.log)


@cache
def problem(name: str) -> str:
    """Why a backend does not work on this machine, empty where it does."""
    try:
        choose(name)  # type: ignore[arg-type]
    except IsolationUnavailable as error:
        return error.message
    return ""


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(problem(name)), reason=f"NOT TESTED, {problem(name)}")
