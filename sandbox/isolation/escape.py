"""The escapes that the self-test tries from inside, run as `python -I escape.py TARGETS`; prints which succeeded.

Every attempt raises OSError when it is contained.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NEW_USER_NAMESPACE = 0x10000000


def file(targets: dict[str, Any]) -> None:
    """Reads a file outside."""
    Path(targets["secret"]).read_bytes()


def environment(targets: dict[str, Any]) -> None:
    """Finds a variable that was not given to it."""
    if not set(os.environ) - set(targets["variables"]):
        raise PermissionError("nothing was inherited")


def tcp(targets: dict[str, Any]) -> None:
    """Reaches a listening port of this machine."""
    socket.create_connection(("127.0.0.1", targets["port"]), 1)


def unix(targets: dict[str, Any]) -> None:
    """Reaches a socket by its path."""
    socket.socket(socket.AF_UNIX).connect(targets["socket"])


def write(targets: dict[str, Any]) -> None:
    """Makes a file beside one that it may not read."""
    Path(targets["secret"]).with_name("planted").touch()


def kill(targets: dict[str, Any]) -> None:
    """Ends a process outside."""
    os.kill(targets["victim"], signal.SIGKILL)


def namespace(_: dict[str, Any]) -> None:
    """Makes a user namespace, in which it would be root."""
    if ctypes.CDLL(None).unshare(_NEW_USER_NAMESPACE):
        raise PermissionError("no new user namespace")


def daemon(_: dict[str, Any]) -> None:
    """Leaves a process behind, in a session of its own; whether it lives is seen by the lock it holds."""
    ready, started = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            fcntl.flock(os.open("daemon", os.O_CREAT | os.O_WRONLY), fcntl.LOCK_EX)
            os.write(started, b".")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)


ATTEMPTS: tuple[Callable[[dict[str, Any]], None], ...] = (
    *(file, environment, tcp, unix, write, namespace, daemon, kill),  # kill is last: it may hit ourselves
)


if __name__ == "__main__":
    _targets = json.loads(sys.argv[1])
    for _attempt in ATTEMPTS:
        if _attempt.__name__ in _targets["attempts"]:
            try:
                _attempt(_targets)
                print("did", _attempt.__name__)
            except OSError:
                print("tried", _attempt.__name__)
