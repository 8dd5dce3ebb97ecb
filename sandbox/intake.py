"""Reading the files that a child process left, as hostile input.

Call these only after the child is dead. No link is followed on the way; only a regular file with a single name, on the
device and of the owner of the folder it was left in, is read, and of it no more than the cap allows. Nothing is run,
unpickled or taken as configuration. Every function raises IntakeRejected, which names the file and the reason; one that
copies raises OSError where the copy cannot be written.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from sandbox.errors import IntakeRejected
from sandbox.schema import Check, anything
from sandbox.tensors import LONGEST_HEADER, Tensor, tensors

_DEEPEST = 16
_MOST_LINES = 1_000_000  # an empty object takes 3 bytes in the file and 70 in memory
_CHUNK = 1 << 20


def read_bytes(root: Path, name: str, cap: int) -> bytes:
    """The content of root/name; `name` is relative, with forward slashes.

    Raises IntakeRejected for what is not a plain file of its folder's owner, or longer than `cap` bytes.
    """
    with _opened(root, name, cap) as (reader, size):
        return _exactly(reader, size, name)


def read_json(root: Path, name: str, cap: int = 1 << 20, schema: Check = anything) -> dict[str, Any]:
    """The object in root/name: strict JSON, at most 16 levels deep, every number finite, no key twice.

    Raises IntakeRejected for anything else, for what `schema` complains of, and where `read_bytes` does.
    """
    return _parse(read_bytes(root, name, cap), name, schema)


def read_lines(root: Path, name: str, cap: int = 64 << 20, schema: Check = anything) -> list[dict[str, Any]]:
    """The object on each line. A last line without its end is dropped when it does not parse: its writer was killed.

    Raises IntakeRejected for more than a million lines, for any other line as `read_json` does, and where `read_bytes`
    does.
    """
    *whole, last = read_bytes(root, name, cap).split(b"\n", _MOST_LINES)
    if b"\n" in last:
        raise IntakeRejected(f"{name} has more than {_MOST_LINES} lines")
    rows = [_parse(line, f"line {number} of {name}", schema) for number, line in enumerate(whole, 1)]
    try:
        return [*rows, _parse(last, name, schema)] if last else rows
    except IntakeRejected:
        return rows


def read_tensors(
    root: Path, name: str, cap: int, expected: Mapping[str, Tensor] | None = None, target: Path | None = None
) -> dict[str, Tensor]:
    """The tensors of the safetensors file root/name, which must be those `expected` where that is known.

    With a `target` the file is copied there in one step, a piece at a time; the copy starts with the header that was
    checked and is as long as the header states. Raises IntakeRejected for an invalid safetensors file, for one that
    has other tensors than those `expected` and where `read_bytes` does; OSError where the copy cannot be written.
    """
    with _opened(root, name, cap) as (reader, size):
        head = _exactly(reader, min(size, 8), name)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(size - 8, LONGEST_HEADER):
            raise IntakeRejected(f"{name} is not a safetensors file: its header cannot be {length} bytes long")
        header = _exactly(reader, length, name)
        found = _tensors(header, size - 8 - length, name)
        if expected is not None and found != dict(expected):
            raise IntakeRejected(f"{name} contains {_difference(found, expected)}")
        if target is not None:
            with _replacing(target) as copy:
                copy.write(head + header)
                _stream(reader, copy, size - 8 - length, name)
    return found


def copy(root: Path, name: str, target: Path, cap: int) -> None:
    """root/name to `target`, in one step and never whole in memory.

    Raises IntakeRejected where `read_bytes` does, OSError where the copy cannot be written.
    """
    with _opened(root, name, cap) as (reader, size), _replacing(target) as writer:
        _stream(reader, writer, size, name)


@contextmanager
def _opened(root: Path, name: str, cap: int) -> Iterator[tuple[BinaryIO, int]]:
    """root/name, open for reading, and its size."""
    with ExitStack() as stack:
        try:
            file = _open(root, name, stack)
            size = _checked(os.fstat(file), os.stat(root), name)
        except FileNotFoundError:
            raise IntakeRejected(f"{name} is missing in {root}") from None
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise IntakeRejected(f"{name} cannot be read: {reason}") from error
        if size > cap:
            raise IntakeRejected(f"{name} is larger than {cap} bytes")
        yield stack.enter_context(os.fdopen(file, "rb", closefd=False)), size


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


def _checked(state: os.stat_result, root: os.stat_result, name: str) -> int:
    """The size of a file that may be read."""
    if not stat.S_ISREG(state.st_mode):
        raise IntakeRejected(f"{name} is not a regular file")
    if state.st_nlink != 1:
        raise IntakeRejected(f"{name} has {state.st_nlink} names (hard links), not one")
    if state.st_dev != root.st_dev:
        raise IntakeRejected(f"{name} is on a different device from the folder it was left in")
    if state.st_uid != root.st_uid:
        raise IntakeRejected(f"{name} belongs to user {state.st_uid}, its folder to user {root.st_uid}")
    return state.st_size


def _exactly(reader: BinaryIO, size: int, name: str) -> bytes:
    content = reader.read(size)
    if len(content) != size:
        raise IntakeRejected(f"{name} became shorter while it was read: a process still writes it")
    return content


def _stream(reader: BinaryIO, writer: BinaryIO, size: int, name: str) -> None:
    for start in range(0, size, _CHUNK):
        writer.write(_exactly(reader, min(_CHUNK, size - start), name))


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `target` when it is whole and on the disk; nothing is left when it is not."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)  # of a process that was killed
    try:
        with part.open("xb") as writer:
            yield writer
            writer.flush()
            os.fsync(writer.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _parse(text: bytes, where: str, schema: Check) -> dict[str, Any]:
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
    if wrong := schema(value):
        raise IntakeRejected(f"{where}: {wrong}")
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


def _tensors(header: bytes, data: int, name: str) -> dict[str, Tensor]:
    try:
        return tensors(_parse(header, f"the header of {name}", anything), data)
    except ValueError as error:
        raise IntakeRejected(f"{name} is not a safetensors file: {error}") from error


def _difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """The first tensor by name that one of the two lacks or that differs."""
    name = min(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    has, wanted = found.get(name), expected.get(name)
    shown = f"{has.dtype} {[*has.shape]}" if has else "nothing"
    return f"{shown} as {name!a}, expected {f'{wanted.dtype} {[*wanted.shape]}' if wanted else 'nothing'}"
