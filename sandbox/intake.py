"""Reading what a child process left behind, as hostile input.

Call these only after the child is dead. No link is followed on the way, only a regular file with a single name is read,
and of it no more than the cap allows. Every function raises IntakeRejected, which names the file and the reason.
"""

import errno
import json
import math
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from sandbox.errors import IntakeRejected

_DEEPEST = 16
_MOST_LINES = 1_000_000  # an empty object takes 3 bytes in the file and 70 in memory


def read_bytes(root: Path, name: str, cap: int) -> bytes:
    """The content of root/name; `name` is relative, with forward slashes."""
    try:
        with ExitStack() as stack:
            file = _open(root, name, stack)
            state = os.fstat(file)
            if not stat.S_ISREG(state.st_mode):
                raise IntakeRejected(f"{name} is not a regular file")
            if state.st_nlink != 1:
                raise IntakeRejected(f"{name} has {state.st_nlink} names (hard links), not one")
            with os.fdopen(file, "rb", closefd=False) as reader:
                content = reader.read(cap + 1) if state.st_size <= cap else None
    except FileNotFoundError:
        raise IntakeRejected(f"{name} is missing in {root}") from None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise IntakeRejected(f"{name} cannot be read: {reason}") from error
    if content is None or len(content) > cap:
        raise IntakeRejected(f"{name} is larger than {cap} bytes")
    return content


def read_json(root: Path, name: str, cap: int = 1 << 20) -> dict[str, Any]:
    """The object in root/name: strict JSON, at most 16 levels deep, every number finite, no key twice."""
    return _parse(read_bytes(root, name, cap), name)


def read_lines(root: Path, name: str, cap: int = 64 << 20) -> list[dict[str, Any]]:
    """The object on each line. A last line without its end is dropped when it does not parse: its writer was killed."""
    *whole, last = read_bytes(root, name, cap).split(b"\n", _MOST_LINES)
    if b"\n" in last:
        raise IntakeRejected(f"{name} has more than {_MOST_LINES} lines")
    rows = [_parse(line, f"line {number} of {name}") for number, line in enumerate(whole, 1)]
    try:
        return [*rows, _parse(last, name)] if last else rows
    except IntakeRejected:
        return rows


def _open(root: Path, name: str, stack: ExitStack) -> int:
    """A descriptor of root/name, reached folder by folder so that no link can lead elsewhere."""
    *folders, file = name.split("/")
    if not {"", ".", ".."}.isdisjoint([*folders, file]):
        raise IntakeRejected(f"{name!r} is not a plain relative name")
    here: int | None = None
    for part in (str(root), *folders):
        here = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        stack.callback(os.close, here)
    opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=here)  # a FIFO would block
    stack.callback(os.close, opened)
    return opened


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair would fail wherever it is written
    except (ValueError, RecursionError) as error:
        raise IntakeRejected(f"{where} is not strict JSON: {error}") from error
    if not isinstance(value, dict):
        raise IntakeRejected(f"{where} is not an object")
    if _deeper_than(_DEEPEST, value):
        raise IntakeRejected(f"{where} is more than {_DEEPEST} levels deep")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits[:20]} is out of range")
    return number


def _deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(levels - 1, item) for item in inner)
