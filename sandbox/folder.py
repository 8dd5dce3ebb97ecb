"""The folder a job may write, treated as hostile: its owner, its size, and how it is removed.

No link is followed, no other file system entered, and one folder is open at a time, however deep they are nested.
"""

import os
import stat
from collections.abc import Container, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import LaunchError
from sandbox.users import job_ids

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512  # what st_blocks counts in, whatever the file system


class FolderMoved(OSError):
    """A folder was moved while its content was looked at."""


@dataclass(frozen=True)
class Holding:
    """What a folder contains, as far as it was counted."""

    disk: int
    """Bytes on the disk: holes of a sparse file cost nothing, a file with several names counts once."""
    files: int
    """Files, links and folders."""
    largest: int
    """Bytes of the longest file, holes included."""


def measure(folder: Path, disk: float = float("inf"), files: float = float("inf")) -> Holding:
    """The size of `folder` now, zero if it is gone; counting ends at more than `disk` bytes or `files` files.

    Raises OSError when it cannot be read, FolderMoved among them.
    """
    held, count, largest = 0, 0, 0
    linked: set[int] = set()
    with suppress(FileNotFoundError), closing(_walk(folder)) as entries:
        for _, _, entry in entries:
            count += 1
            held += entry.st_blocks * _BLOCK if entry.st_ino not in linked else 0
            if stat.S_ISREG(entry.st_mode):
                largest = max(largest, entry.st_size)
                linked |= {entry.st_ino} if entry.st_nlink > 1 else set()
            if held > disk or count > files:
                break
    return Holding(held, count, largest)


@contextmanager
def lent(folder: Path, owner: int | None) -> Iterator[None]:
    """While it lasts, `folder` and what is in it belong to user `owner`; afterwards all of that user there is ours.

    A file with a second name stays ours: the other name may lie outside. Raises LaunchError when we may not give it.
    What root's jobs leave can be read by others in the end, for the next job that is shown it is one of them.
    """
    try:
        if owner is not None:
            _hand_over(folder, (os.getuid(),), owner, owner)
        yield
    finally:
        if owner is not None:
            _hand_over(folder, (owner,), os.getuid(), os.getgid())
        if os.getuid() == 0:
            _open_up(folder)


def reclaim(folder: Path) -> None:
    """What a job's user still has in `folder` is ours again, where whoever had lent it did not live to see the job end.
    What other people have there stays theirs: a cache may be shared. Raises LaunchError when we may not take it.
    """
    if os.getuid() == 0:  # nobody else lends
        _hand_over(folder, job_ids(), os.getuid(), os.getgid(), lent_out=False)


def remove(folder: Path) -> None:
    """Deletes `folder` and what is in it, whatever a job left there; no error when there is no such folder.

    Raises OSError when something cannot be deleted, such as a mount point.
    """
    with suppress(FileNotFoundError):
        for parent, name, entry in _walk(folder):
            (os.rmdir if stat.S_ISDIR(entry.st_mode) else os.unlink)(name, dir_fd=parent)
        os.rmdir(folder)


def _hand_over(folder: Path, givers: Container[int], owner: int, group: int, lent_out: bool = True) -> None:
    """What belongs to any of `givers` goes to `owner`; so does a folder that is lent, whoever has it."""
    try:
        for parent, name, entry in _walk(folder):
            if entry.st_uid in givers and (entry.st_nlink == 1 or stat.S_ISDIR(entry.st_mode)):
                os.chown(name, owner, group, dir_fd=parent, follow_symlinks=False)
        if (whose := os.lstat(folder).st_uid) in givers or (lent_out and whose != owner):
            os.chown(folder, owner, group, follow_symlinks=False)
    except FileNotFoundError:  # deleted by the job
        return
    except OSError as error:
        hint = "only root can" if isinstance(error, PermissionError) else ""
        raise LaunchError(f"cannot give {folder} to user {owner}: {error.strerror}", hint) from error


def _open_up(folder: Path) -> None:
    """After all processes have ended: a name that is a file now stays one."""
    with suppress(FileNotFoundError):
        for parent, name, entry in _walk(folder):
            folder_like, mode = stat.S_ISDIR(entry.st_mode), stat.S_IMODE(entry.st_mode)
            plain = folder_like or (stat.S_ISREG(entry.st_mode) and entry.st_nlink == 1)
            if plain and entry.st_uid == os.getuid():
                os.chmod(name, mode | (0o555 if folder_like else 0o444), dir_fd=parent)


def _walk(folder: Path) -> Generator[tuple[int, str, os.stat_result], None, None]:
    """All below `folder`: the descriptor of the folder it is in, its name and what lstat says; a folder comes after
    what is in it, and may be deleted then. Opens what its owner has locked. Raises FolderMoved.
    """
    here = _open(folder)
    try:
        device = os.fstat(here).st_dev
        trail: list[tuple[str, os.stat_result]] = []
        pending = [(yield from _entries(here))]
        while pending[-1] or trail:
            if pending[-1]:
                name, outer = pending[-1].pop(), os.fstat(here)
                try:
                    here = _step(here, name)
                except (FileNotFoundError, NotADirectoryError):  # the job has deleted or replaced it
                    continue
                trail.append((name, outer))
                pending.append((yield from _entries(here)) if os.fstat(here).st_dev == device else [])
            else:
                pending.pop()
                name, outer = trail.pop()
                here = _climb(here, outer)
                with suppress(FileNotFoundError):
                    yield here, name, os.stat(name, dir_fd=here, follow_symlinks=False)
    finally:
        os.close(here)


def _step(here: int, name: str) -> int:
    there = _open(name, here)
    os.close(here)
    return there


def _climb(here: int, outer: os.stat_result) -> int:
    with suppress(FileNotFoundError):  # a deleted folder has no outer one
        here = _step(here, "..")
    if not os.path.samestat(os.fstat(here), outer):
        raise FolderMoved("folders were moved while their content was looked at")
    return here


def _entries(folder: int) -> Generator[tuple[int, str, os.stat_result], None, list[str]]:
    """Yields the entries that are not folders and returns the names of those that are."""
    inner = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    yield folder, entry.name, entry.stat(follow_symlinks=False)
    return inner


def _open(name: Path | str, parent: int | None = None) -> int:
    """A descriptor for a folder whose content can be listed and reached, though its owner may have forbidden it."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        bare = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{bare}", stat.S_IRWXU)
        finally:
            os.close(bare)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(PermissionError):
            os.fchmod(folder, stat.S_IRWXU)
    return folder
