"""The cache: folders named by a hash of all that they follow from, shared by all runs, deletable at any time.

    <kind>/<key>/       prepared data, a teacher with its outputs, a finished trial
    <kind>/<key>.lock   locked by the process that fills, checks or removes the folder
    <kind>/<key>.json   its manifest: the SHA-256 of every file that is read, and the jobs that left nothing to do

The manifest lies beside the folder, where no process of an experiment may write. Whatever is in a folder and not in its
manifest was not finished, or not by us, and goes. A run locks the folder itself, shared, for as long as it may read it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.record.files import file_hash, write_whole
from sandbox.folder import reclaim, remove

READ = (".safetensors", ".json", ".jsonl", ".txt")
"""Ends of the names of files that a process reads; a vocabulary may be plain text."""
ASIDE = ("trainer", "torchinductor")
"""Folders, by the beginnings of their names."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs from filling or removing the folder at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def unused(*paths: Path) -> Iterator[bool]:
    """Whether nobody holds any of these files and folders; while it lasts, nobody else does."""
    with ExitStack() as stack:
        yield all(_held(path, stack) for path in paths if path.exists())


def _held(path: Path, stack: ExitStack) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def use(folder: Path) -> None:
    """Until this process ends nobody removes the folder, whose time records its last use. Raises OSError."""
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)
    os.utime(folder)


def check(folder: Path) -> str:
    """Leaves what the manifest vouches for; returns the file that condemned all of it, or "". The caller is `alone`.

    All of it is ours again, where whoever filled it died while a job's user owned the files.
    Where a process was cut off before there was a manifest, the hashes that its stages recorded count and, of a
    training that had not ended, its checkpoints, which have manifests of their own.
    """
    known = manifest(folder)
    if folder.is_dir():
        reclaim(folder)
    if name := altered(folder):
        discard(folder)
        return name
    kept = _finished(folder) if known is None else known
    for path in _files(folder):
        if str(path.relative_to(folder)) not in kept:
            path.unlink()
    return ""


def altered(folder: Path) -> str:
    """The first file that does not match the manifest, or ""."""
    return first_other(folder, manifest(folder) or {})


def first_other(folder: Path, files: Mapping[str, str]) -> str:
    """The first of these files that does not have the hash given for it, or ""."""
    return next((name for name, due in files.items() if not _is(folder / name, due)), "")


def note(folder: Path, about: Mapping[str, object], found_in: Path | None = None, job: str = "") -> None:
    """Writes the manifest, or adds to it what is new: files, and the digest of the job that wrote them.

    `found_in` is where the files are, if not in the folder yet.
    """
    known = {} if found_in else manifest(folder) or {}
    files = hashes(found_in or folder, known)
    done = sorted({*_jobs(folder), job} - {""})
    write_whole(_manifest(folder), json.dumps({"schema": 2, "about": about, "files": files, "jobs": done}))


def has_done(folder: Path, job: str) -> bool:
    """Whether the job has ended here, all that it leaves noted in the manifest."""
    return job in _jobs(folder)


def _jobs(folder: Path) -> set[str]:
    found = read(_manifest(folder)).get("jobs")
    return set(map(str, found)) if isinstance(found, list) else set()


def hashes(folder: Path, known: dict[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of every file that is read, by its name in the folder; of those that are `known`, what is known."""
    files = {str(path.relative_to(folder)): path for path in _files(folder)}
    return {name: (known or {}).get(name) or file_hash(path) for name, path in files.items()}


def manifest(folder: Path) -> dict[str, str] | None:
    """File → hash, or None without a readable manifest."""
    found = read(_manifest(folder)).get("files")
    return found if isinstance(found, dict) else None


def about(folder: Path) -> dict[str, object]:
    """The description by the process that filled the folder."""
    found = read(_manifest(folder)).get("about")
    return found if isinstance(found, dict) else {}


def read(path: Path) -> dict[str, Any]:  # any: a file of any shape, or nothing
    """The object in a file, or {} where there is none that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def free(path: Path, *locks: Path) -> bool:
    """Whether an entry is gone now; one that somebody has just begun to use stays."""
    with unused(*locks) as ours:
        if ours:
            discard(path)
    return ours


def discard(path: Path) -> None:
    """The manifest goes first: a folder without one does not count as complete, wherever this is cut off."""
    _manifest(path).unlink(missing_ok=True)
    if path.is_file():
        path.unlink()
    else:
        remove(path)


def lock(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _manifest(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _finished(folder: Path) -> set[str]:
    """The files of every teacher in the folder whose training ended, as it was noted when it did."""
    kept = set[str]()
    for ended in folder.rglob("teacher.json"):
        files = read(ended).get("files")
        if isinstance(files, dict) and all(_is(ended.with_name(name), due) for name, due in files.items()):
            kept |= {str(ended.with_name(name).relative_to(folder)) for name in (ended.name, *files)}
    return kept


def _is(path: Path, due: object) -> bool:
    with suppress(OSError):
        return not path.is_symlink() and path.is_file() and file_hash(path) == due
    return False


def _files(folder: Path) -> list[Path]:
    """Every file that somebody reads: not the checkpoints of a training, nor what PyTorch compiled on the side."""
    inside = (path for path in folder.rglob("*") if path.suffix in READ and (path.is_symlink() or not path.is_dir()))
    return sorted(path for path in inside if not any(p.startswith(ASIDE) for p in path.relative_to(folder).parts))
