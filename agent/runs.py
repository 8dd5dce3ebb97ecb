"""Runs on disk: making one, finding one, listing them, and keeping two processes off the same one."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agent.errors import UsageError
from agent.paths import RunPaths

Status = Literal["planned", "awaiting_review", "running", "succeeded", "partial", "failed", "cancelled"]
LEAST_FREE = 512 << 20  # bytes; less than this and a run would die half way


def create(runs: Path, idea: str, options: dict[str, Any]) -> RunPaths:
    """A new run folder with its idea and its options. Raises UsageError when it cannot be written."""
    stamp = datetime.now(UTC)
    digest = hashlib.sha256(f"{idea}{stamp.isoformat()}{os.getpid()}".encode()).hexdigest()[:4]
    paths = RunPaths(runs / f"{stamp:%Y%m%d-%H%M%S}-{_slug(idea)}-{digest}")
    try:
        paths.folder.mkdir(parents=True)
        for folder in (paths.logs, paths.jobs, paths.scratch):
            folder.mkdir()
        paths.idea.write_text(idea + "\n")
        update(
            paths,
            schema=1,
            id=paths.id,
            created=stamp.isoformat(timespec="seconds"),
            status="planned",
            options=options,
            parent="",
        )
    except OSError as error:
        raise UsageError(
            f"cannot write a run under {runs}: {error.strerror}", "choose another folder with --runs-dir"
        ) from error
    return paths


def check_space(folder: Path) -> None:
    """Raises UsageError before anything is written when the disk is nearly full."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE:
        raise UsageError(
            f"disk full: {free >> 20} MB free under {folder}, a run needs {LEAST_FREE >> 20} MB",
            "free some space, or choose another disk with --runs-dir and KDAGENT_CACHE",
        )


def _slug(idea: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", idea.lower())[:4])[:32] or "run"


def read(paths: RunPaths) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(paths.run.read_text())
    return record


def update(paths: RunPaths, **values: Any) -> None:
    """Change run.json, whole or not at all."""
    record = (read(paths) if paths.run.exists() else {}) | values
    write_whole(paths.run, json.dumps(record, indent=1, ensure_ascii=False))


def write_whole(path: Path, text: str) -> None:
    """Write so that a reader meets the old text or the new one, never half."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)


def find(runs: Path, name: str) -> RunPaths:
    """The run of that id, of that unique beginning, or `@last`. Raises UsageError naming what was found."""
    known = every(runs)
    if name == "@last" and known:
        return known[0]
    matches = [paths for paths in known if paths.id == name] or [p for p in known if name and p.id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(paths.id for paths in matches[:3])
        raise UsageError(f"run {name!r} is ambiguous: {len(matches)} runs start so ({some})", "give more of the id")
    raise UsageError(f"no run {name!r} in {runs}", "`kdagent runs` lists them")


def every(runs: Path) -> list[RunPaths]:
    """All runs, newest first."""
    if not runs.is_dir():
        return []
    return [RunPaths(folder) for folder in sorted(runs.iterdir(), reverse=True) if (folder / "run.json").is_file()]


@contextmanager
def locked(paths: RunPaths) -> Iterator[None]:
    """Hold the run. Raises UsageError when another process does."""
    with paths.lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"run {paths.id} is in use by another kdagent process", "wait for it, or stop it first"
            ) from error
        yield
