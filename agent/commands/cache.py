"""`kdagent cache`: list or delete entries of the cache."""

import argparse
import re
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import common
from agent.terminal import complain, say, say_json

if TYPE_CHECKING:
    from agent.cache.inventory import Entry


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|rm", parser_class=type(parser))
    common(actions.add_parser("ls", help="list entries: kind, key, size, last use, content, runs that need it"))
    rm = actions.add_parser("rm", help="delete entries; a later run rebuilds what it needs")
    common(rm)
    which = rm.add_mutually_exclusive_group(required=True)
    which.add_argument("key", nargs="*", default=[], metavar="KEY", help="a key, or a unique beginning of one")
    which.add_argument("--all", action="store_true", help="everything")
    which.add_argument("--older", type=days, metavar="DAYS", help="entries that no run has used for that many days")
    rm.add_argument("--yes", action="store_true", help="do not ask")


def days(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
        raise argparse.ArgumentTypeError(f"{value!r:.80} is not a number of days: give 30, or 0.5")
    return float(value)


def run(arguments: argparse.Namespace) -> int:
    return _list(arguments) if arguments.action == "ls" else _remove(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from agent.cache import inventory
    from agent.commands.settings import settings_of
    from agent.record.printed import command

    settings = settings_of(arguments)
    folder = settings.cache
    found = inventory.inventory(folder, settings.runs)
    total = sum(each.bytes for each in found)
    if arguments.json:
        known = {"cache": str(folder), "bytes": total, "entries": [each.to_json() for each in found]}
        say_json({"schema": 1} | known)
        return 0
    for each in found:
        say(_line(each))
    size = f"{total / 1e6:.1f} MB"
    remove = command("cache", "rm", "KEY", folder=settings.runs)
    say(f"{len(found)} in {folder}, {size}; delete with `{remove}`; a run rebuilds what it needs")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    """Delete the named entries, after listing them."""
    from agent.cache import inventory
    from agent.commands.confirm import confirm
    from agent.commands.settings import settings_of

    settings = settings_of(arguments)
    folder = settings.cache
    found = inventory.inventory(folder, settings.runs)
    if arguments.key:
        found = inventory.named(found, arguments.key, folder)
    elif arguments.older is not None:
        found = inventory.idle(found, arguments.older)
    if found and not arguments.yes:
        complain(*map(_line, found))
        confirm(f"delete {len(found)} entries from the cache {folder}?", arguments.json)
    removed = inventory.free(found)
    kept = [each for each in found if each not in removed]
    freed = sum(each.bytes for each in removed)
    if arguments.json:
        told = {"bytes": freed, "removed": [e.to_json() for e in removed], "kept": [e.to_json() for e in kept]}
        say_json({"schema": 1} | told)
        return 0
    for each in removed:
        say(f"removed: {_line(each)}")
    for each in kept:
        say(f"left alone, a run has just begun to use it: {_line(each)}")
    say(f"freed: {freed / 1e6:.1f} MB ({freed} bytes)")
    return 0


def _line(entry: "Entry") -> str:
    needed = f"; named by {', '.join(entry.runs[:2])}" if entry.runs else ""
    more = f" and {len(entry.runs) - 2} more" if len(entry.runs) > 2 else ""
    start = f"{entry.kind:<8}{entry.key[:12]:<13}{entry.bytes / 1e6:9.1f} MB  {entry.used[:16].replace('T', ' ')}"
    return f"{start}  {entry.about}{needed}{more}"


COMMAND = Command("list (`cache ls`) or delete (`cache rm`) cache entries", arguments, run)
