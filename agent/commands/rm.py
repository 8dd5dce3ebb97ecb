"""`kdagent rm`: delete runs, after listing them."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import RUN, common
from agent.terminal import complain, say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    parser.add_argument("run", nargs="+", metavar="RUN", help=RUN)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: Namespace) -> int:
    from agent.commands.confirm import confirm
    from agent.commands.runs import line
    from agent.commands.settings import settings_of
    from agent.record import runs

    folder = settings_of(arguments).runs
    found = list(dict.fromkeys(runs.find(folder, name) for name in arguments.run))
    if not arguments.yes:
        complain(*(line(runs.listed(paths)) for paths in found))
        confirm(f"delete {len(found)} of the runs in {folder}?", arguments.json)
    runs.remove(found)
    removed = [paths.id for paths in found]
    say_json({"schema": 1, "removed": removed}) if arguments.json else say(f"removed: {', '.join(removed)}")
    return 0


COMMAND = Command("delete runs", arguments, run)
