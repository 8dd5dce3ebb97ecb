"""Commands that kdagent prints for a person to copy. Each works where it is pasted."""

import shlex
import shutil
import sys
from pathlib import Path

from agent import config


def command(*words: str, folder: Path | None = None) -> str:
    """A kdagent command line, quoted for a shell; about the runs in `folder`, which is named unless it is the default.

    Capitals such as N or FILE stand for what the person has to fill in.
    """
    elsewhere = ("--runs-dir", str(folder)) if folder and folder != config.Settings.read().runs else ()
    return shlex.join([program(), *words, *elsewhere])


def program() -> str:
    """`kdagent`, or the path by which it was called where the shell would not find it."""
    called = sys.argv[0]
    return called if Path(called).name == "kdagent" and not shutil.which("kdagent") else "kdagent"
