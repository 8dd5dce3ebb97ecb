"""`kdagent tag`: tag a run, or remove tags from it."""

from argparse import ArgumentParser, Namespace

from agent.commands import common
from agent.commands.command import Command
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common.one_run(parser)
    parser.add_argument("tag", type=common.tag, nargs="+", metavar="NAME")
    parser.add_argument("--remove", action="store_true", help="remove these tags")


def run(arguments: Namespace) -> int:
    from agent.commands.runs import line
    from agent.commands.settings import settings_of
    from agent.record import runs

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    with runs.locked(paths):
        had = runs.read(paths).get("tags", [])
        kept = [name for name in had if name not in arguments.tag]
        runs.update(paths, tags=kept if arguments.remove else list(dict.fromkeys([*had, *arguments.tag])))
    record = runs.read(paths)
    say_json({"schema": 1, "run": record}) if arguments.json else say(line(record))
    return 0


COMMAND = Command("tag a run, so that `runs --tag NAME` finds it", arguments, run)
