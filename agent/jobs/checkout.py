"""Which kdagent ran: the commit of its own checkout. It is observed once per run, and never derived again."""

import os
import subprocess
from pathlib import Path

from agent import __version__
from agent.config import ROOT

DECIDES = ("agent", "sandbox", "baselines", "templates")
"""What of a checkout decides how a run goes."""
LONGEST = 10.0  # seconds that git may take


def checkout(root: Path = ROOT) -> str:
    """`commit` and 40 hex digits, followed by `+ changes` where the program's files are not those of that commit;
    `installed, version X` outside a checkout.

    Raises OSError or SubprocessError where git is missing or refuses.
    """
    if not (root / ".git").exists():
        return f"installed, version {__version__}"
    changes = " + changes" if _git(root, "status", "--porcelain", "--", *DECIDES) else ""
    return f"commit {_git(root, 'rev-parse', 'HEAD')}{changes}"


def _git(root: Path, *words: str) -> str:
    """Reads only: git takes no lock, starts no monitor, and does not look where a hook's variables point."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *words],
        cwd=root, env=kept | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, text=True, timeout=LONGEST, check=True,
    ).stdout.strip()  # fmt: skip
