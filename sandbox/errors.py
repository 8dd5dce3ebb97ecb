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
    exit_code = 5


class WorkspaceError(SandboxError):
    exit_code = 2


class IsolationUnavailable(SandboxError):
    exit_code = 2


class LaunchError(SandboxError):
    pass


class IntakeRejected(SandboxError):
    pass
