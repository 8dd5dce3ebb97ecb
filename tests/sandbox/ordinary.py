"""Python code run by an ordinary user, also where the tests run as root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = 61_235


def as_user(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `code` as a user who owns `folder` and what is in it. Skips where no interpreter of ours is open to all."""
    command: tuple[str, ...] = (sys.executable,)
    if os.getuid() == 0:
        command = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "/usr/bin/env", "python3")
        _give(folder)
        if not shutil.which("setpriv") or _run(command, "import tomllib").returncode:
            pytest.skip("NOT TESTED, there is no setpriv, or no Python 3.11 that every user may run")
    return _run(command, code)


def _give(folder: Path) -> None:
    for above in folder.parents[:-1]:
        if above.stat().st_uid == 0:
            above.chmod(above.stat().st_mode | 0o011)
    for path in (*folder.rglob("*"), folder):
        os.chown(path, USER, USER, follow_symlinks=False)


def _run(command: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run((*command, "-B", "-c", code), cwd=ROOT, env=env, capture_output=True, text=True)
