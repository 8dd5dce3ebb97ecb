"""The scores of a finished run on the terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.results.schema import Results, TrackResult
from agent.terminal import cell

if TYPE_CHECKING:
    from rich.table import Table


def scores_tables(results: Results) -> Iterator["Table"]:
    """One of each track: its arms by the primary metric on the test rows."""
    return (_scores(track, results.plan.primary_metric) for track in results.tracks)


def _scores(track: TrackResult, metric: str) -> "Table":
    from rich.table import Table

    title = cell(f"{track.name}: {metric} on the test rows")
    table = Table("arm", "mean", "sd", "n", title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    if track.teacher_scores:
        table.add_row("teacher", f"{track.teacher_scores[metric]:.4f}", "", "1")
    if track.assistant:
        table.add_row("assistant", f"{track.assistant.scores[metric]:.4f}", "", "1")
    for arm in track.arms:
        if summary := arm.summaries.get(metric):
            table.add_row(cell(arm.name), f"{summary.mean:.4f}", f"{summary.sd or 0:.4f}", str(summary.n))
    return table
