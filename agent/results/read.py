"""results.json, read."""

from typing import TYPE_CHECKING

from agent.record.files import parsed
from agent.record.paths import RunPaths

if TYPE_CHECKING:
    from agent.results.schema import Results


def results_of(paths: RunPaths) -> "Results | None":
    """results.json, if the run has it. Raises DataError when this version cannot read it."""
    from agent.results.schema import Results

    return parsed(paths.results, Results)
