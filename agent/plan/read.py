"""plan.json, read."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import DataError
from agent.record.files import parsed
from agent.record.paths import RunPaths

if TYPE_CHECKING:
    from agent.plan.plan import Plan


def plan_of(paths: RunPaths) -> "Plan | None":
    """plan.json, if the run has it. Raises DataError when this version cannot read it."""
    return read_plan(paths.plan)


def paces_of(paths: RunPaths) -> dict[str, dict[str, object]]:
    """By track, the run's measurement of compiling; empty where its record has none."""
    from agent.record.prepared import read_facts

    with suppress(OSError, DataError):
        tracks = read_facts(paths).tracks
        return {name: prepared.pace.model_dump() for name, prepared in tracks.items() if prepared.pace}
    return {}


def read_plan(path: Path) -> "Plan | None":
    from agent.plan.plan import Plan

    return parsed(path, Plan)
