"""`kdagent runs`: list the runs."""

import argparse
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import common, seconds, text
from agent.terminal import say, say_json

if TYPE_CHECKING:
    from agent.record.runs import RunInfo

STATUS = ("planned", "awaiting_review", "running", "succeeded", "partial", "failed", "cancelled", "unreadable")
VERDICTS = ("better", "worse", "inconclusive", "invalid")


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--status", choices=STATUS, metavar="|".join(STATUS))
    parser.add_argument("--verdict", choices=VERDICTS, metavar="|".join(VERDICTS))
    text(parser, "--task", metavar="NAME", help="only runs with this task")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="NAME", help="only runs with this tag; repeat for several"
    )
    parser.add_argument("--since", type=since, metavar="DATE|TIME", help="only runs since then: 2026-11-20, 36h or 7d")


def since(value: str) -> str:
    """A date, or a time that long ago, in the form in which runs record when they were made."""
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = datetime.now(UTC) - timedelta(seconds=min(seconds(value), 1e9))
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="seconds")


def run(arguments: argparse.Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.record import runs
    from agent.record.printed import command

    folder = settings_of(arguments).runs
    known = [runs.listed(paths) for paths in runs.every(folder)]
    found = [record for record in known if _wanted(record, arguments)]
    if arguments.json:
        say_json({"schema": 1, "runs": found})
        return 0
    for record in found:
        say(line(record))
    if not found:
        start = command("run", "efficient KD for small models", "--yes", folder=folder)
        say(f"no run matches ({len(known)} in all)" if known else f"no runs yet; start one: {start}")
    return 0


def _wanted(record: "RunInfo", arguments: argparse.Namespace) -> bool:
    """Whether a run passes every filter that was given."""
    tasks = record.get("tracks") or record["options"].get("tasks", ())
    return (
        arguments.status in (None, record["status"])
        and arguments.verdict in (None, record.get("verdict"))
        and arguments.task in (None, *tasks)
        and all(tag in record.get("tags", ()) for tag in arguments.tag)
        and record["created"] >= (arguments.since or "")
    )


def line(record: "RunInfo") -> str:
    """A run on one line; of an imported one anybody may have written it."""
    marks = [f"#{tag}" for tag in record.get("tags", ())] + ["(imported)"] * ("imported" in record)
    idea = str(record["options"].get("idea", ""))[:60]
    return f"{record['id']}  {record['status']:<16}{record.get('verdict', ''):<14}{' '.join([idea, *marks])}"


COMMAND = Command("list the runs", arguments, run)
