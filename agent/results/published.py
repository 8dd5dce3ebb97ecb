"""Figures that others published."""

from __future__ import annotations

import tomllib
from pathlib import Path

from agent.config import ROOT
from agent.results.schema import Published

PUBLISHED = ROOT / "baselines" / "published.toml"


def published(task: str, path: Path = PUBLISHED) -> tuple[Published, ...]:
    """Figures others reported for `task`, in the order of the file."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["figure"]
    return tuple(Published(**row) for row in rows if row["task"] == task)
