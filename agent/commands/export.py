"""`kdagent export`: a run as one file."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="the file to write (default: RUN.tar.gz in this folder)"
    )
    parser.add_argument("--weights", action="store_true", help="include the trained weights")
    parser.add_argument("--data", action="store_true", help="include the prepared data, where they are small")


def run(arguments: Namespace) -> int:
    from pathlib import Path

    from agent.commands.settings import settings_of
    from agent.recheck import archive
    from agent.record import runs
    from agent.record.files import file_hash

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    target = Path(arguments.file or f"{paths.id}.tar.gz").absolute()
    with runs.still(paths):
        archive.export(paths, target, weights=arguments.weights, data=arguments.data)
    facts = {"schema": 1, "run": paths.id, "file": str(target), "bytes": target.stat().st_size}
    say_json(facts | {"sha256": file_hash(target)}) if arguments.json else say(target)
    return 0


COMMAND = Command("write a run to one file", arguments, run)
