"""An isolation backend turns a job into a launch and does nothing else; the supervisor starts it.

A new one is a file of this room, its name in names.py, a row of BACKENDS in choose.py, and its layer in pyproject.toml.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from sandbox.isolation.job import Job, Launch, Limits


class Backend(Protocol):
    """A frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """As a user asks for it; one of names.Name."""

    @property
    def level(self) -> int:
        """0 protects nothing from hostile code, 3 all that `protects` lists."""

    @property
    def protects(self) -> tuple[str, ...]:
        """What it keeps safe, one sentence each, as the report shows it."""

    @property
    def not_protected(self) -> tuple[str, ...]:
        """What it does not, likewise."""

    @property
    def hints(self) -> Mapping[str, str]:
        """What to do next, by a part of the problem."""

    @property
    def selftest(self) -> str:
        """How many probes of the self-test it contained, e.g. "8 of 8"."""

    def problem(self) -> str | None:
        """The reason why it cannot work on this machine, as far as that can be known without starting a process."""

    def launch(self, job: Job, limits: Limits) -> Launch:
        """Has no side effects.

        Raises LaunchError when the job names a path that is missing or that its user cannot read, a refused variable,
        or a layout this backend cannot fence; IsolationUnavailable when its filter of system calls cannot be made.
        """
