"""Runs on disk: making one, finding one, listing them, and keeping two processes off the same one."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, TypedDict

from agent.errors import DataError, Interrupted, UsageError
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.record.printed import command
from sandbox.folder import remove as remove_folder
from sandbox.schema import holding, integer, items, text

RunStatus = Literal["planned", "awaiting_review", "running", "succeeded", "partial", "failed", "cancelled"]
ENDED: dict[str, RunStatus] = {"complete": "succeeded", "partial": "partial", "failed": "failed"}
"""Status in results.json of a run that came to its end → status in run.json."""
LEAST_FREE = 512 << 20  # bytes; less than this and a run would die half way
SHAPE = holding(
    {
        "schema": integer(1, 1),
        **dict.fromkeys(("id", "status", "created", "reason?", "parent?", "verdict?"), text(1 << 20)),
        **dict.fromkeys(("tags?", "tracks?"), items(text(1 << 10), 10_000)),
        "options": holding({}),
        "imported?": holding({"time": text(100), "archive": text(100)}),
    }
)
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO)


class RunInfo(TypedDict, total=False):
    """run.json."""

    schema: int
    id: str
    created: str
    status: str
    reason: str
    options: dict[str, Any]  # any: `Options.from_json` reads it, other versions have other fields
    parent: str
    tags: list[str]
    tracks: list[str]
    verdict: str
    imported: dict[str, str]


def create(runs: Path, idea: str, options: dict[str, object], parent: str = "", tags: Iterable[str] = ()) -> RunPaths:
    """A new run folder with its idea and its options, or none. `parent` is the run it comes from."""
    stamp = datetime.now(UTC)
    digest = hashlib.sha256(f"{idea}{stamp.isoformat()}{os.getpid()}".encode()).hexdigest()[:4]
    paths = RunPaths(runs / f"{stamp:%Y%m%d-%H%M%S}-{_slug(idea)}-{digest}")
    paths.folder.mkdir(parents=True)
    try:
        for folder in (paths.logs, paths.jobs, paths.scratch):
            folder.mkdir()
        paths.idea.write_text(idea + "\n")
        created = stamp.isoformat(timespec="seconds")
        known = {"schema": 1, "id": paths.id, "created": created, "status": "planned", "options": options}
        update(paths, **known, parent=parent, tags=list(tags))
    except BaseException:
        shutil.rmtree(paths.folder, ignore_errors=True)
        raise
    return paths


def check_folder(folder: Path, setting: str) -> None:
    """Raises UsageError, before anything is written, for a folder that cannot be made and for a nearly full disk."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise UsageError(f"{folder} cannot be written: {existing} is not a folder", f"choose another with {setting}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written: no permission in {existing}", f"choose another with {setting}")
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE:
        problem = f"disk full: {free >> 20} MB free under {folder}, a run needs {LEAST_FREE >> 20} MB"
        raise UsageError(problem, f"free some space, or choose another disk with {setting}")


@contextmanager
def refusals() -> Iterator[None]:
    """Refusals of the machine or the user (a full disk, a forbidden folder, Ctrl-C) as errors of ours."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None
    except OSError as error:
        if error.errno in FULL:
            raise _full(error.filename) from error
        if error.errno in FORBIDDEN:
            hint = "choose another folder with --runs-dir or KDAGENT_CACHE"
            raise DataError(f"{error.filename}: {error.strerror}", hint) from error
        raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise _full("state.sqlite") from error
        raise


def _full(name: str | None) -> DataError:
    return DataError(f"disk full: {name or 'a file'} could not be written", "free some space")


def _slug(idea: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", idea.lower())[:4])[:32] or "run"


def read(paths: RunPaths) -> RunInfo:
    """run.json. Raises UsageError when this version cannot read it."""
    try:
        record: RunInfo = json.loads(paths.run.read_text())
        if not SHAPE(record):
            return record
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PermissionError, FileNotFoundError):
        pass
    raise UsageError(f"{paths.run} is not a valid run record", "restore the file, or remove the folder")


def update(paths: RunPaths, **values: Any) -> None:
    """Change run.json, whole or not at all."""
    record = (read(paths) if paths.run.exists() else {}) | values
    write_whole(paths.run, json.dumps(record, indent=1))


def find(runs: Path, name: str) -> RunPaths:
    """The run of that id, of that unique beginning, `@last`, or `@last~2`, which is two before the last.

    Raises UsageError naming what was found.
    """
    if back := re.fullmatch(r"@last(?:~(\d{1,6}))?", name):
        matches = list(islice(every(runs), int(back[1] or 0), int(back[1] or 0) + 1))
    else:
        known = [paths for paths in every(runs) if name and paths.id.startswith(name)]
        matches = [paths for paths in known if paths.id == name] or known
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(paths.id for paths in matches[:3])
        raise UsageError(
            f"run {name!r} is ambiguous: {len(matches)} runs begin with it ({some})", "give more of the id"
        )
    raise UsageError(f"no run {name!r} in {runs}", f"`{command('runs', folder=runs)}` lists them")


def every(runs: Path) -> Iterator[RunPaths]:
    """All runs, newest first: folders with a run.json; a name that begins with a dot is one half made or removed."""
    names = os.listdir(runs) if runs.is_dir() else []
    for name in sorted((name for name in names if not name.startswith(".")), reverse=True):
        paths = RunPaths(runs / name)
        if _has_record(paths):
            yield paths


def _has_record(paths: RunPaths) -> bool:
    try:
        return stat.S_ISREG(os.stat(paths.run).st_mode)
    except PermissionError:  # somebody's run, not for us to read: it is listed, as that
        return True
    except OSError:
        return False


def listed(paths: RunPaths) -> RunInfo:
    """The row of a run in a list, whatever became of its folder."""
    try:
        return read(paths)
    except UsageError:
        return {"id": paths.id, "status": "unreadable", "created": "", "options": {"idea": ""}}


def remove(several: Sequence[RunPaths]) -> None:
    """Delete runs: all of them at once for everybody who lists runs, or none.

    Raises UsageError when one is in use, or only a link.
    """
    gone = [paths.folder.with_name(f".removed-{paths.id}") for paths in several]
    with ExitStack() as held:
        for paths in several:
            if paths.folder.is_symlink():
                raise UsageError(f"{paths.folder} is a link, not a run", "remove the link yourself")
            held.enter_context(locked(paths))
        for paths, folder in zip(several, gone, strict=True):
            remove_folder(folder)  # left by a removal that was cut off
            paths.folder.rename(folder)
    for folder in gone:
        remove_folder(folder)


@contextmanager
def still(paths: RunPaths) -> Iterator[None]:
    """While it lasts no process continues the run; works on a read-only folder. Raises UsageError."""
    with paths.lock.open() if paths.lock.exists() else nullcontext() as stream:
        if stream:
            _hold(paths, stream, fcntl.LOCK_SH)
        yield


def in_use(paths: RunPaths) -> bool:
    """Whether another process has locked the run, as far as a reader can tell."""
    try:
        with paths.lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, as in a copy, or none for us to read
        pass
    return False


@contextmanager
def locked(paths: RunPaths) -> Iterator[None]:
    """Lock the run. Raises UsageError when another process has locked it."""
    with paths.lock.open("w") as stream:
        _hold(paths, stream, fcntl.LOCK_EX)
        yield


def _hold(paths: RunPaths, stream: IO[str], how: int) -> None:
    try:
        fcntl.flock(stream, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "wait for it, or stop it first"
        raise UsageError(f"run {paths.id} is in use by another kdagent process", hint) from error
