"""`kdagent show`: the plan and the results of a run."""

from argparse import Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.terminal import cell, say, say_json, screen

if TYPE_CHECKING:
    from rich.console import Console

    from agent.record.paths import RunPaths
    from agent.record.runs import RunInfo
    from agent.results.schema import Results


def run(arguments: Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.plan.read import plan_of
    from agent.record import runs
    from agent.results.read import results_of

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    record, plan, results = runs.read(paths), plan_of(paths), results_of(paths)
    if arguments.json:
        known = {"plan": plan, "results": results}
        dumped = {name: found and found.model_dump(mode="json", by_alias=True) for name, found in known.items()}
        say_json({"schema": 1, "run": record} | dumped)
    else:
        _show(paths, record, results)
    return 0


def _show(paths: "RunPaths", record: "RunInfo", results: "Results | None") -> None:
    from agent.plan.read import plan_of
    from agent.plan.table import plan_table
    from agent.record.prepared import read_facts

    console = screen()
    reason = f" ({record['reason']})" if record.get("reason") else ""
    say(f"run {paths.id}: {record['status']}{reason}", f"idea: {record['options']['idea']}")
    if imported := record.get("imported"):
        say(f"imported {imported['time']} from an archive of sha256 {imported['archive']}")
    if plan := plan_of(paths):
        plan_table(console, plan, read_facts(paths))
    if results:
        _scores(console, results)
        say("", f"{results.verdict}: {results.conclusion}", f"report: {paths.report}")


def _scores(console: "Console", results: "Results") -> None:
    from rich.table import Table

    metric = results.plan.primary_metric
    for track in results.tracks:
        title = cell(f"{track.name}: {metric} on the test rows")
        table = Table("arm", "mean", "sd", "n", title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_row("teacher", f"{track.teacher_scores[metric]:.4f}", "", "1")
        if track.assistant:
            table.add_row("assistant", f"{track.assistant.scores[metric]:.4f}", "", "1")
        for arm in track.arms:
            if summary := arm.summaries.get(metric):
                table.add_row(cell(arm.name), f"{summary.mean:.4f}", f"{summary.sd or 0:.4f}", str(summary.n))
        say("")
        console.print(table)


COMMAND = Command("show a run's plan and results", one_run, run)
