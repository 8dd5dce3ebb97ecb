"""`kdagent resume`: continue a run where it stopped."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.loop.session import Session


def arguments(parser: ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--yes", action="store_true", help="approve the plan")


def run(arguments: Namespace) -> int:
    from dataclasses import replace

    from agent.commands.options import own_options
    from agent.commands.settings import settings_of
    from agent.loop.session import Session
    from agent.record import runs

    settings = settings_of(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = own_options(paths, "resumed")
    options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    session = Session(paths, options, settings, arguments.json)
    return _replay(session) if options.replay else session.go()


def _replay(session: "Session") -> int:
    """Continue a replay that was stopped."""
    from agent.loop.going_on import next_command
    from agent.recheck import replay
    from agent.record import runs

    if session.options.replay in ("report", "agent"):
        problem = f"run {session.paths.id} is a replay at level {session.options.replay}, which takes seconds"
        raise UsageError(problem, f"replay it again: {next_command(session.paths)}")
    original = runs.find(session.settings.runs, runs.read(session.paths)["parent"])
    return replay.replay(original, session.paths, session).go()


COMMAND = Command("continue a run that stopped, or approve its plan", arguments, run)
