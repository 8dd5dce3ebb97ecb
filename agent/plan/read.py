"""plan.json, read."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.record.files import parsed
from agent.record.paths import RunPaths

if TYPE_CHECKING:
    from agent.plan.plan import Plan


def plan_of(paths: RunPaths) -> "Plan | None":
    """plan.json, if the run has it. Raises DataError when it is not what this version can read."""
    return read_plan(paths.plan)


def paces_of(paths: RunPaths) -> dict[str, Any]:
    """By track, what the run measured of compiling; nothing where its record does not say."""
    from agent.plan.compiling import Pace

    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        tracks = json.loads(paths.facts.read_text())["tracks"]
        return {name: Pace(**facts["pace"]).model_dump() for name, facts in tracks.items() if "pace" in facts}
    return {}


def read_plan(path: Path) -> "Plan | None":
    from agent.plan.plan import Plan

    return parsed(path, Plan)
