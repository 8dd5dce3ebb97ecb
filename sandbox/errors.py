"""The exception tree. Every error a user can meet is one of these; anything else is a bug and keeps its traceback.

KdagentError
├── SandboxError
│   ├── WorkspaceError         the run's git repository cannot be made, read or written
│   ├── IsolationUnavailable   the wanted isolation level does not work on this machine
│   ├── LaunchError            a child process could not be started at all
│   └── IntakeRejected         a file a child left behind is not what it must be
└── AgentError                 see agent/errors.py
"""


class KdagentError(Exception):
    """One line that says what, where and which value; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SandboxError(KdagentError):
    """The sandbox cannot do its part."""

    exit_code = 5


class WorkspaceError(SandboxError):
    """The run's git repository cannot be made, read or written."""

    exit_code = 2


class IsolationUnavailable(SandboxError):
    """The isolation that was asked for does not work on this machine."""

    exit_code = 2


class LaunchError(SandboxError):
    """A child process could not be started at all."""


class IntakeRejected(SandboxError):
    """A file that a child left behind is not what it must be."""
