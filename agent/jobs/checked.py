"""Everything this process takes from the cache, checked against the manifests there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.cache import entries
from agent.errors import CacheChanged
from agent.jobs.progress import Progress

Vouched = Mapping[Path, Mapping[str, str]]
"""Per entry of the cache: files, and the SHA-256 that its manifest has of each."""


@dataclass(frozen=True)
class Checked:
    progress: Progress
    remade: list[str] = field(default_factory=list, init=False)
    """Entries that did not match their hashes, and were rebuilt."""

    def check(self, what: str, folder: Path) -> None:
        """Discards and reports whatever does not match its hash. The caller has locked the folder."""
        if name := entries.check(folder):
            self.tell(what, name, folder)

    def tell(self, what: str, name: str, folder: Path) -> None:
        """Reports what was discarded for that file."""
        told = f"{what} in the cache were rebuilt: {name} did not match its hash"
        self.remade.append(told)
        self.progress.say(f"{told} ({folder})")

    def is_whole(self, folder: Path) -> bool:
        """Whether a finished entry is there, as it was written."""
        with entries.alone(folder):
            whole = entries.manifest(folder) is not None and not entries.altered(folder)
            if whole:
                entries.use(folder)
        return whole


def vouched(paths: Iterable[Path], cache: Path) -> Vouched:
    """The files of the cache below `paths`, as their manifests have them."""
    found = dict[Path, dict[str, str]]()
    for path in paths:
        if entry := _entry(path, cache):
            files = entries.manifest(entry) or {}
            below = {name: due for name, due in files.items() if (entry / name).is_relative_to(path)}
            found.setdefault(entry, {}).update(below)
    return found


def confirm(known: Vouched) -> None:
    """After a process has read those files. Raises CacheChanged where one is not what its manifest had."""
    for entry, files in known.items():
        if name := entries.first_other(entry, files):
            problem = f"{name} in {entry} changed while a process was reading it"
            raise CacheChanged(problem, "resume the run: it is made again, and what was read from it does not count")


def _entry(path: Path, cache: Path) -> Path | None:
    """The entry that a path lies in: a folder in a folder of the cache."""
    if not path.is_relative_to(cache):
        return None
    parts = path.relative_to(cache).parts[:2]
    return cache.joinpath(*parts) if len(parts) == 2 else None
