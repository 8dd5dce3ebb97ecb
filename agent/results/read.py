"""results.json, read."""

from typing import TYPE_CHECKING

from agent.record.files import parsed
from agent.record.paths import RunPaths

if TYPE_CHECKING:
    from agent.results.schema import Results


def results_of(paths: RunPaths) -> "Results | None":
    """results.json, if the run has it. Raises DataError when it is not what this version can read."""
    from agent.results.schema import Results

    return parsed(paths.results, Results)
