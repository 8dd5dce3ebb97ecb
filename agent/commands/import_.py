"""`kdagent import`: a run from somebody's file."""

from argparse import ArgumentParser, Namespace

from agent.commands.command import Command
from agent.commands.common import common
from agent.terminal import say, say_json


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    parser.add_argument("file", metavar="FILE", help="a file that kdagent export wrote")


def run(arguments: Namespace) -> int:
    from pathlib import Path

    from agent.commands.settings import settings_of
    from agent.recheck import archive
    from agent.record import runs
    from agent.record.printed import command

    folder = settings_of(arguments).runs
    runs.check_folder(folder, "--runs-dir")
    folder.mkdir(parents=True, exist_ok=True)
    paths = archive.unpack(Path(arguments.file), folder)
    if arguments.json:
        say_json({"schema": 1, "run": runs.read(paths)})
    else:
        check = command("verify", paths.id, folder=folder)
        say(f"imported {paths.id}; none of its code was run, and it has not been checked yet: {check}")
    return 0


COMMAND = Command("import an exported run; none of its code is executed", arguments, run)
