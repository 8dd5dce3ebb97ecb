"""`kdagent verify`: check a run, or a copy of its folder anywhere, against its own record; 1 when something differs."""

from argparse import Namespace

from agent.commands.command import Command
from agent.commands.common import one_run
from agent.errors import UsageError
from agent.terminal import say, say_json


def run(arguments: Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from agent.commands.settings import settings_of
    from agent.recheck.verify import verify
    from agent.record import runs
    from agent.record.paths import RunPaths

    copied = Path(arguments.run).absolute()
    paths = (
        RunPaths(copied) if (copied / "run.json").is_file() else runs.find(settings_of(arguments).runs, arguments.run)
    )
    if runs.in_use(paths):
        raise UsageError(f"run {paths.id} is in use by another kdagent process", "wait for it, or stop it first")
    found = verify(paths)
    if arguments.json:
        say_json({"schema": 1, "verified": not found.findings} | asdict(found))
    else:
        say(*found.findings, *(f"not checked: {note}" for note in found.notes), found.verdict)
    return int(bool(found.findings))


COMMAND = Command("derive a run's numbers again, check its files' hashes", one_run, run)
