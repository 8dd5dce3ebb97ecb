"""Where things are and what this machine is set to: read once from the environment, passed down."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TASKS = ROOT / "baselines" / "tasks.toml"
SCALES = ROOT / "baselines" / "scales.toml"
FAMILIES = ROOT / "baselines" / "families.toml"
METHODS = ROOT / "baselines" / "methods" / "cards"
SETTINGS = ROOT / "baselines" / "methods" / "settings.toml"
EMBEDDED = ROOT / "baselines" / "embedded"
"""Rows of tasks that ship with kdagent, test labels among them."""
EFFECTS = ROOT / "baselines" / "effects.json"
TRAIN_FILES = ROOT / "templates" / "train"


@dataclass(frozen=True)
class Settings:
    runs: Path
    """One folder per run."""
    cache: Path
    """Prepared data and teachers, keyed by content; can be deleted at any time."""
    arrow: Path
    """Data sets as they were read from files, in a format that is read faster."""
    base_url: str
    model: str
    api_key: str

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        cache_home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = Path(environment.get("KDAGENT_CACHE") or cache_home / "kdagent").absolute()
        return cls(
            runs=Path(environment.get("KDAGENT_RUNS") or ROOT / "runs").absolute(),
            cache=cache,
            arrow=cache / "arrow",
            base_url=environment.get("KDAGENT_BASE_URL", ""),
            model=environment.get("KDAGENT_MODEL", ""),
            api_key=environment.get("KDAGENT_API_KEY") or environment.get("OPENAI_API_KEY", ""),
        )

    def __repr__(self) -> str:
        return f"Settings(runs={self.runs}, cache={self.cache}, base_url={self.base_url!r}, model={self.model!r})"


def cards(path: Path) -> dict[str, Any]:  # any: TOML; `plan.cards` and `plan.settings` type what they take
    """The cards of one data file, such as the tasks, or of a folder with a file for each: the methods, in their order.

    A method's card names in `before` the one that it stands right in front of. Raises ValueError where these names do
    not lead to a last card.
    """
    if path.is_file():
        return tomllib.loads(path.read_text(encoding="utf-8"))
    files = {file.stem: file for file in sorted(path.glob("*.toml"))}
    found = {name: {"file": f"{name}.py"} | cards(file) for name, file in files.items()}
    ordered = {name: found[name] for name in _up_to("", found)}
    if lost := sorted(found.keys() - ordered.keys()):
        raise ValueError(f"{path / lost[0]}.toml: its `before` leads to no last card: name a card that is there")
    return ordered


def _up_to(last: str, found: Mapping[str, Any]) -> Iterator[str]:
    for name, card in found.items():
        if card.get("before", "") == last:
            yield from _up_to(name, found)
            yield name
