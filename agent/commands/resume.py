"""`kdagent resume`: go on where a run stopped."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.loop.session import Drive


def arguments(parser: ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--yes", action="store_true", help="approve the plan")


def run(arguments: Namespace) -> int:
    from dataclasses import replace

    from agent.commands.options import own_options
    from agent.commands.settings import settings_of
    from agent.loop.session import Drive
    from agent.record import runs

    settings = settings_of(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = own_options(paths, "resumed")
    options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    drive = Drive(paths, options, settings, arguments.json)
    return _replay(drive) if options.replay else drive.go()


def _replay(drive: "Drive") -> int:
    """Go on with a replay that was stopped."""
    from agent.loop.going_on import next_command
    from agent.recheck import replay
    from agent.record import runs

    if drive.options.replay in ("report", "agent"):
        problem = f"run {drive.paths.id} is a replay at level {drive.options.replay}, which takes seconds"
        raise UsageError(problem, f"replay it again: {next_command(drive.paths)}")
    original = runs.find(drive.settings.runs, runs.read(drive.paths)["parent"])
    return replay.replay(original, drive.paths, drive).go()


COMMAND = Command("continue a run that stopped, or approve its plan", arguments, run)
