"""`kdagent report`: render a run's report again from results.json."""

import json
from argparse import Namespace

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.errors import UsageError


def run(arguments: Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.loop.session import resume_command
    from agent.record import runs
    from agent.results import review
    from agent.results.read import results_of

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    if not results_of(paths):
        status = runs.read(paths)["status"]
        raise UsageError(f"run {paths.id} is {status}: it has no results yet", f"go on with: {resume_command(paths)}")
    review.write(paths)
    if arguments.json:
        print(json.dumps({"schema": 1, "run": paths.id, "report": str(paths.report)}))
    else:
        print(paths.report)
    return 0


COMMAND = Command("write a run's report again, byte for byte", one_run, run)
