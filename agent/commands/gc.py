"""`kdagent gc`: list files that nothing needs any more; delete them with --yes."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import common
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only list what would be deleted (the default)")
    what.add_argument("--yes", action="store_true", help="delete them")


def run(arguments: Namespace) -> int:
    from agent.cache import unused
    from agent.commands.settings import settings_of
    from agent.record.printed import command

    settings = settings_of(arguments)
    found = unused.waste(settings.runs, settings.cache)
    freed = [each for each in found.items if arguments.yes and unused.free(each)]
    found.kept.extend(f"{each.path}: in use" for each in found.items if arguments.yes and each not in freed)
    listed = freed if arguments.yes else found.items
    if arguments.json:
        items = [{"path": str(each.path), "bytes": each.size, "why": each.why} for each in listed]
        say_json({"schema": 1, "freed": arguments.yes, "items": items, "kept": found.kept})
        return 0
    for each in listed:
        say(f"{each.size / 1e6:10.1f} MB  {each.path}  ({each.why})")
    for reason in found.kept:
        say(f"left alone: {reason}")
    total = f"{sum(each.size for each in listed) / 1e6:.1f} MB"
    again = command("gc", "--yes", folder=settings.runs)
    say(f"freed: {total}" if arguments.yes else f"would free: {total}; delete with {again}")
    return 0


COMMAND = Command("list what no run needs any more; --yes deletes it", arguments, run)
