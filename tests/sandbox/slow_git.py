"""The real git behind a script that waits for half a second before one of its commands, and says that it does."""

import os
import shutil
import sys
import time
from pathlib import Path


class SlowGit:
    def __init__(self, folder: Path, command: str) -> None:
        self._waiting = folder / "waiting"
        lines = (
            f"#!{sys.executable} -IS",
            "import os, sys, time",
            f"if sys.argv[1:2] == [{command!r}]:",
            f"    open({str(self._waiting)!r}, 'w').close()",
            "    time.sleep(0.5)",
            f"os.execv({shutil.which('git')!r}, ['git', *sys.argv[1:]])",
        )
        folder.mkdir()
        (folder / "git").write_text("\n".join(lines))
        (folder / "git").chmod(0o755)
        self.path = f"{folder}:{os.environ['PATH']}"
        """The PATH on which it is found first."""

    def wait(self, seconds: float = 120) -> None:
        """Until the command is there. Raises TimeoutError where it does not come."""
        deadline = time.monotonic() + seconds
        while not self._waiting.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("git was not called")
            time.sleep(0.01)
