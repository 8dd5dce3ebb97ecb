"""What a process of ours tells the harness when it cannot go on: one line, and what to do next."""

import json
import sys
from collections.abc import Callable
from pathlib import Path


class BaselineError(Exception):
    """`message` says what, where and which value; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason(error: Exception) -> str:
    """What another library's error says, on one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def main(work: Callable[[dict], None]) -> None:
    """Run `work` on each job file of the command line; a BaselineError becomes error.json and exit code 2."""
    for path in sys.argv[1:]:
        _one(work, json.loads(Path(path).read_text()))


def _one(work: Callable[[dict], None], job: dict) -> None:
    try:
        work(job)
    except BaselineError as error:
        text = json.dumps({"message": error.message, "hint": error.hint})
        (Path(job["out"]) / "error.json").write_text(text)
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        sys.exit(2)
