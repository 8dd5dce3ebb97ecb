"""`kdagent show`: the plan and the results of a run."""

from argparse import Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.terminal import say, say_json, screen

if TYPE_CHECKING:
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
    from agent.results.table import scores_tables

    console = screen()
    reason = f" ({record['reason']})" if record.get("reason") else ""
    say(f"run {paths.id}: {record['status']}{reason}", f"idea: {record['options'].get('idea', '')}")
    if imported := record.get("imported"):
        say(f"imported {imported['time']} from an archive of sha256 {imported['archive']}")
    if plan := plan_of(paths):
        plan_table(console, plan, read_facts(paths))
    if results:
        for table in scores_tables(results):
            say("")
            console.print(table)
        say("", f"{results.verdict}: {results.conclusion}", f"report: {paths.report}")


COMMAND = Command("show a run's plan and results", one_run, run)
