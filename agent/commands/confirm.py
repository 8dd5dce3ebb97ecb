"""The question before something is deleted."""

import sys
from contextlib import suppress

from agent.errors import UsageError
from agent.terminal import ask


def confirm(question: str, as_json: bool) -> None:
    """Raises UsageError unless the person at the terminal answers yes."""
    answer = ""
    if not as_json and sys.stdin and sys.stdin.isatty():
        with suppress(EOFError):
            answer = ask(f"{question} [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was deleted", "--yes deletes without asking")
