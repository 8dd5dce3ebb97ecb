"""What a process of ours tells the harness when it cannot go on: one line, and what to do next."""


class BaselineError(Exception):
    """`message` says what, where and which value; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason(error: Exception) -> str:
    """What another library's error says, on one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
