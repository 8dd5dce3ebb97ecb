"""The question before something is deleted."""

import sys
from contextlib import suppress

from agent.errors import UsageError


def confirm(question: str, as_json: bool) -> None:
    """Raises UsageError unless the person in front of the terminal says yes."""
    answer = ""
    if not as_json and sys.stdin and sys.stdin.isatty():
        with suppress(EOFError):
            answer = input(f"{question} [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was removed", "--yes removes without asking")
