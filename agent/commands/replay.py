"""`kdagent replay`: rerun a run from its record; 0 where it matches, 1 where it does not, 6 where the record does not
fit, 7 where something that it needs is missing."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run, text
from sandbox.isolation.names import ISOLATION

if TYPE_CHECKING:
    from agent.plan.options import Options

LEVELS = ("report", "agent", "full", "live")


def arguments(parser: ArgumentParser) -> None:
    one_run(parser)
    about = (
        "report: render it; agent: play the conversation, train nothing; full (default): train; live: ask a model again"
    )
    parser.add_argument("--level", choices=LEVELS, default="full", help=about)
    text(parser, "--data-dir", metavar="DIR", help="folder of the known tasks' data now")
    text(parser, "--data", metavar="PATH", help="your own data now")
    text(parser, "--model", metavar="NAME", help="at level live: the model to ask")
    text(parser, "--base-url", metavar="URL", help="at level live: its endpoint")
    parser.add_argument("--isolation", choices=ISOLATION, help="default: as the run was")
    parser.add_argument("--yes", action="store_true", help="train the code of an imported run")


def run(arguments: Namespace) -> int:
    from dataclasses import replace

    from agent.commands.options import refuse_early
    from agent.commands.settings import settings_of
    from agent.errors import UsageError
    from agent.loop.session import Session
    from agent.plan.options import Options
    from agent.plan.read import paces_of
    from agent.recheck import replay as replays
    from agent.recheck.data import with_data
    from agent.record import runs
    from agent.record.printed import command

    settings, level = settings_of(arguments), arguments.level
    original = runs.find(settings.runs, arguments.run)
    replays.replayable(original)
    record, trains = runs.read(original), level in ("full", "live")
    if "imported" in record and trains and not arguments.yes:
        problem = f"run {original.id} was imported, and level {level} runs its train.py, isolated"
        agent = command("replay", original.id, "--level", "agent", folder=settings.runs)
        raise UsageError(problem, f"read its report first, then add --yes; or replay without training: {agent}")
    options = replay_options(Options.from_json(record["options"]), arguments, "imported" in record)
    options = replace(with_data(original, options), paces=paces_of(original) if level != "live" else {})
    runs.check_folder(settings.runs, "--runs-dir")
    foreseen = refuse_early(options, settings) if trains else (None, None)
    made = runs.create(settings.runs, options.idea, options.to_json(), parent=original.id)
    return replays.replay(original, made, Session(made, options, settings, arguments.json, *foreseen)).go()


def replay_options(options: "Options", arguments: Namespace, foreign: bool) -> "Options":
    """The options of the replay. Somebody else's run chooses neither its isolation, nor the files of ours that are
    read, nor who is sent our key."""
    from dataclasses import replace

    from agent.commands.options import absolute

    if foreign:
        options = replace(options.without_addressees, data_dir="", data="", own_name="")
    return replace(
        options,
        replay=arguments.level,
        yes=True,
        plan_only=False,
        isolation=arguments.isolation or options.isolation,
        data_dir=absolute(arguments.data_dir) or options.data_dir,
        data=absolute(arguments.data) or options.data,
        model=arguments.model or options.model,
        base_url=arguments.base_url or options.base_url,
    )


COMMAND = Command("rerun a run from its record and compare the two", arguments, run)
