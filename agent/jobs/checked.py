"""Everything this process takes from the cache, checked against the manifests there."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.cache import entries
from agent.jobs.progress import Progress


@dataclass(frozen=True)
class Checked:
    progress: Progress
    folders: set[Path] = field(default_factory=set, init=False)
    """Those that were checked."""
    remade: list[str] = field(default_factory=list, init=False)
    """Entries that did not match their hashes, and were rebuilt."""

    def check(self, what: str, folder: Path) -> None:
        """Discards and reports whatever does not match its hash. The caller has locked the folder."""
        self.folders.add(folder)
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
