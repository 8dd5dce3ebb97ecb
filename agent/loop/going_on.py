"""How to continue a run: the command that is printed for it."""

from contextlib import suppress

from agent.plan.options import Options
from agent.record import runs
from agent.record.paths import RunPaths
from agent.record.printed import command
from sandbox.errors import KdagentError


def next_command(paths: RunPaths, *flags: str) -> str:
    """Resumes a run, with `flags`. An imported run and a replay that takes seconds are never resumed: asks for a run of
    one's own, and begins the replay again. A record that cannot be read is reported by whoever resumes the run."""
    folder = paths.folder.parent
    with suppress(KdagentError, KeyError, TypeError):
        record = runs.read(paths)
        options = Options.from_json(record["options"])
        if "imported" in record:
            return command(*options.without_addressees.words, folder=folder)
        if options.replay in ("report", "agent"):
            return command("replay", record["parent"], "--level", options.replay, folder=folder)
    return command("resume", paths.id, *flags, folder=folder)
