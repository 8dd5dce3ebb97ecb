"""The store: finished trials of reference arms, kept for other runs in which they would be the same to the last bit.

Only arms that no model wrote are kept. A trial is found by everything that it follows from; what is taken is checked
against its hashes first, and names the run that trained it. A replay takes nothing from here.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cache import entries
from agent.cache.keys import digest
from agent.record.files import file_hash, write_whole
from sandbox.folder import remove

FILES = ("trace.jsonl", "weights.safetensors", "trial.json")


@dataclass(frozen=True)
class TrialStore:
    folder: Path
    """One folder per trial, named by its key."""
    run: str
    """The run that takes and gives."""
    changed: dict[Path, str] = field(default_factory=dict, init=False)
    """Kept trials that did not match their hashes, each with its first such file; they are discarded."""

    def take(self, identity: Any, place: Path) -> bool:
        """Puts the trial of that identity into `place`; False where none is kept. One that was changed is discarded."""
        kept = self.folder / digest(identity)
        if not kept.exists():
            return False
        try:
            entries.use(kept)
            origin = json.loads((kept / "origin.json").read_text(encoding="utf-8"))
            wrong = [name for name in FILES if file_hash(kept / name) != origin["files"][name]]
        except (OSError, ValueError, KeyError, TypeError):
            wrong = ["origin.json"]
        if wrong:
            self.changed[kept] = wrong[0]
            entries.discard(kept)
            return False
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES[:2]:
            shutil.copyfile(kept / name, place / name)
        report = json.loads((kept / "trial.json").read_text(encoding="utf-8"))
        write_whole(place / "trial.json", json.dumps(report | {"reused": origin["run"]}))
        return True

    def give(self, identity: Any, place: Path) -> None:
        """Keeps the trial in `place`, if it went as planned and was trained by this run."""
        report = json.loads((place / "trial.json").read_text(encoding="utf-8"))
        kept = self.folder / digest(identity)
        if kept.exists() or report["status"] != "ok" or {"reused", "continued"} & report.keys() or report["micro"] > 1:
            return
        part = kept.with_suffix(f".{self.run}")
        remove(part)
        part.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(place / name, part / name)
        track = place.parent.name
        origin = {"run": self.run, "track": track, "files": {name: file_hash(part / name) for name in FILES}}
        write_whole(part / "origin.json", json.dumps(origin))
        try:
            part.rename(kept)
        except OSError:  # another run was faster
            remove(part)
