"""Files that nothing needs any more: leftovers of runs, and cache entries that no existing run uses."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.cache import entries
from agent.errors import UsageError
from agent.record import runs
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from sandbox.folder import measure

KEY = re.compile(rb"[0-9a-f]{32}")
USERS = "runs"
"""Folder of the cache that registers the folders of runs which use it."""
HIDDEN = (".import-", ".removed-")
"""Runs half made and half removed, by the beginning of their names."""


@dataclass(frozen=True)
class Item:
    path: Path
    size: int
    """Bytes on the disk."""
    why: str
    locks: tuple[Path, ...]
    """Locked by whoever uses it."""


@dataclass
class Waste:
    items: list[Item] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Entries that were left alone, and why."""


def register(cache_folder: Path, runs_folder: Path) -> None:
    """Notes beside the cache that runs in this folder use it, so that nobody frees what they name."""
    path = cache_folder / USERS / f"{hashlib.sha256(str(runs_folder).encode()).hexdigest()[:32]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"schema": 1, "runs": str(runs_folder)}))


def users(cache_folder: Path) -> dict[Path, Path]:
    """Folder of runs → the file that registers it."""
    files = sorted((cache_folder / USERS).glob("*.json"))
    return {Path(str(known)): file for file in files if (known := entries.read(file).get("runs"))}


def waste(folder: Path, cache_folder: Path) -> Waste:
    """Everything that can go. The cache is left alone while any run, in whichever folder, may still be about to name
    an entry."""
    found = Waste()
    needed = _needed_elsewhere(folder, cache_folder, found)
    for paths in runs.every(folder):
        named = _named(paths, found)
        needed |= named or set()
        if named is not None:
            found.items += [_item(each, f"scratch of {paths.id}", paths.lock) for each in inside(paths.scratch)]
    found.items += [_item(each, "left by an import or a removal", RunPaths(each).lock) for each in _hidden(folder)]
    if not found.kept:
        why = "no run refers to it"
        found.items += [_item(each, why, entries.lock(each), each) for each in _unneeded(cache_folder, needed)]
    return found


def _needed_elsewhere(folder: Path, cache_folder: Path, found: Waste) -> set[str]:
    """The entries that runs in other folders name."""
    needed = set[str]()
    for other, file in users(cache_folder).items():
        if not other.is_dir():
            found.kept.append(f"the cache, for its runs folder {other} is missing (gone for good? delete {file})")
        elif other.resolve() != folder.resolve():
            for paths in runs.every(other):
                needed |= _named(paths, found) or set()
    return needed


def _named(paths: RunPaths, found: Waste) -> set[str] | None:
    """The entries that a run names; None where that cannot be known: one that is at work may be about to name more."""
    try:
        with runs.still(paths):
            runs.read(paths)
            return keys(paths)
    except (UsageError, OSError) as error:
        found.kept.append(f"the cache, for {getattr(error, 'message', error)}")
        return None


def free(item: Item) -> bool:
    """Whether it is gone now; one that somebody has just begun to use stays."""
    return entries.free(item.path, *item.locks)


def keys(paths: RunPaths) -> set[str]:
    """Everything in a record that may be the name of an entry of the cache."""
    files = (paths.facts, paths.events, *paths.jobs.glob("*/job-*.json"))
    return {key.decode() for path in files if path.exists() for key in KEY.findall(path.read_bytes())}


def _unneeded(folder: Path, needed: set[str]) -> Iterator[Path]:
    for kind in ("data", "teachers", "trials", "paces"):
        for path in inside(folder / kind):
            if path.stem not in needed:
                yield path


def _hidden(folder: Path) -> Iterator[Path]:
    return (path for path in inside(folder) if path.name.startswith(HIDDEN))


def inside(folder: Path) -> list[Path]:
    """Folders in a folder, in order."""
    return (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()) if folder.is_dir() else []
    )


def _item(path: Path, why: str, *locks: Path) -> Item:
    return Item(path, measure(path).disk, why, locks)
