"""Files of a record: written whole, hashed, and parsed into their records."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.errors import DataError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from agent.frozen import Record

T = TypeVar("T", bound="Record")


def parsed(path: Path, kind: type[T]) -> T | None:
    """The record in a file, if there is one. Raises DataError when this version cannot read it."""
    from pydantic import ValidationError

    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path} cannot be read: {first_problem(error)}", "restore the file") from error


def first_problem(error: "ValidationError") -> str:
    """Where in a record, and what is wrong there."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def write_whole(path: Path, text: str) -> None:
    """Write so that a reader sees the old text or the new one, never half."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
