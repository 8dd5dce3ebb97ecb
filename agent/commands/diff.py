"""`kdagent diff`: the differences between two runs."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import RUN, common
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    parser.add_argument("first", metavar="RUN", help=RUN)
    parser.add_argument("second", metavar="RUN", help="the run to compare with it")


def run(arguments: Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.recheck import diff
    from agent.record import runs

    folder = settings_of(arguments).runs
    found = diff.between(runs.find(folder, arguments.first), runs.find(folder, arguments.second))
    say_json(found.to_json()) if arguments.json else say(*found.lines())
    return 0


COMMAND = Command("compare two runs", arguments, run)
