"""`kdagent report`: render a run's report again from results.json."""

from argparse import Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.errors import UsageError
from agent.terminal import say, say_json

if TYPE_CHECKING:
    from agent.record.paths import RunPaths


def hint(paths: "RunPaths") -> str:
    """How the run can get a report."""
    from agent.loop.going_on import next_command
    from agent.loop.session import REJECTED
    from agent.record import runs
    from agent.record.printed import command

    if runs.read(paths).get("reason") == REJECTED:
        amend = command("review", paths.id, "--edit", "FIELD=VALUE", folder=paths.folder.parent)
        return f"its plan was rejected; amend it as a new run: {amend}"
    return f"continue with: {next_command(paths)}"


def run(arguments: Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.record import runs
    from agent.results import review
    from agent.results.read import results_of

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    if not results_of(paths):
        raise UsageError(f"run {paths.id} is {runs.read(paths)['status']}: it has no results yet", hint(paths))
    review.write(paths)
    if arguments.json:
        say_json({"schema": 1, "run": paths.id, "report": str(paths.report)})
    else:
        say(paths.report)
    return 0


COMMAND = Command("render a run's report again, byte for byte", one_run, run)
