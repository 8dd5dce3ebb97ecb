"""The message of a process of ours to the agent when it cannot continue: one line, and what to do next."""


class BaselineError(Exception):
    """`message` names what, where and which value; `hint`, what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason(error: Exception) -> str:
    """Another library's error on one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
