"""A job: the command of a child process, the files and limits it gets, and its launch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A command, and the paths and devices it may use; every path is absolute."""

    argv: tuple[str, ...]
    read: tuple[Path, ...]
    """Files and folders the child may read."""
    write: Path
    """The only folder it may write; also its working folder and its HOME."""
    env: Mapping[str, str] = field(default_factory=dict)
    hide: tuple[Path, ...] = ()
    """Folders in `read` or in the Python environment that must look empty, e.g. a package's bundled data sets."""
    devices: tuple[Path, ...] = ()
    """Graphics cards it may use, e.g. /dev/nvidia0."""


@dataclass(frozen=True)
class Limits:
    """Kept by the parent. All processes of the job count together, unless a field says otherwise."""

    wall_s: float
    memory: int
    """Bytes."""
    cpu_s: float = float("inf")
    """Processor time."""
    processes: int = 256
    """At once; under bubblewrap threads count as well."""
    disk: int = 16 << 30
    """Bytes that the written folder may contain."""
    files: int = 20_000
    """Files and folders that the written folder may contain."""
    file_size: int = 4 << 30
    """Bytes, for each file."""
    output: int = 1 << 20
    """Bytes of the log that are kept, half from its beginning and half from its end."""
    flood: int = 1 << 30
    """Bytes of output, kept or not, after which the job is stopped."""
    open_files: int = 4096
    """For each process."""


@dataclass(frozen=True)
class Launch:
    """The process that a backend makes of a job."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment; nothing is inherited."""
    cwd: Path
    attached: Mapping[str, bytes] = field(default_factory=dict)
    """Words of `argv` that stand for an open file descriptor, and what the child reads from it."""
    owner: int | None = None
    """The user id the child runs as where it is not ours: the written folder is lent to it until it has ended."""
