"""Commands that re-check a run: verify, replay, report."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from agent.commands.common import absolute, refuse_early, settings_of
from agent.errors import UsageError
from agent.loop.session import Drive, resume_command
from agent.plan.options import Options
from agent.plan.read import paces_of
from agent.record import runs
from agent.record.paths import RunPaths
from agent.results.read import results_of
from sandbox.printable import printable


def resume_replay(drive: Drive) -> int:
    """Go on with a replay that was stopped."""
    from agent.recheck import replay

    if drive.options.replay in ("report", "agent"):
        problem = f"run {drive.paths.id} is a replay at level {drive.options.replay}, which takes seconds"
        raise UsageError(problem, f"replay it again: kdagent replay {runs.read(drive.paths)['parent']}")
    original = runs.find(drive.settings.runs, runs.read(drive.paths)["parent"])
    return replay.replay(original, drive.paths, drive).go()


def replay_run(arguments: argparse.Namespace) -> int:
    """A run again from its record; 0 where it matches, 1 where it does not, 6 where the record does not fit."""
    from agent.recheck import replay

    settings, level = settings_of(arguments), arguments.level
    original = runs.find(settings.runs, arguments.run)
    replay.replayable(original)
    record, trains = runs.read(original), level in ("full", "live")
    if "imported" in record and trains and not arguments.yes:
        problem = f"run {original.id} was imported, and level {level} runs its train.py, isolated"
        raise UsageError(problem, "read its report first, then add --yes; or replay it at --level agent")
    options = replay_options(Options.from_json(record["options"]), arguments, "imported" in record)
    options = replace(options, paces=paces_of(original) if level != "live" else {})
    runs.check_folder(settings.runs, "--runs-dir")
    backend = refuse_early(options, settings) if trains else None
    made = runs.create(settings.runs, options.idea, options.to_json(), parent=original.id)
    return replay.replay(original, made, Drive(made, options, settings, arguments.json, backend)).go()


def replay_options(options: Options, arguments: argparse.Namespace, foreign: bool) -> Options:
    """The options of the replay. Somebody else's run chooses neither how it is fenced in, nor which files of ours are
    read, nor who is sent our key."""
    if foreign:
        options = replace(options, isolation="auto", data_dir="", data="", model="", base_url="")
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


def report(arguments: argparse.Namespace) -> int:
    """Render the report again from results.json."""
    from agent.results import review

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    if not results_of(paths):
        status = runs.read(paths)["status"]
        raise UsageError(f"run {paths.id} is {status}: it has no results yet", f"go on with: {resume_command(paths)}")
    review.write(paths)
    if arguments.json:
        print(json.dumps({"schema": 1, "run": paths.id, "report": str(paths.report)}))
    else:
        print(paths.report)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Hold a run, or a copy of its folder anywhere, against its own record; 1 when something differs."""
    from dataclasses import asdict

    from agent.recheck.verify import verify

    copied = Path(arguments.run).absolute()
    paths = (
        RunPaths(copied) if (copied / "run.json").is_file() else runs.find(settings_of(arguments).runs, arguments.run)
    )
    if runs.in_use(paths):
        raise UsageError(f"run {paths.id} is in use by another kdagent process", "wait for it, or stop it first")
    found = verify(paths)
    if arguments.json:
        print(json.dumps({"schema": 1, "verified": not found.findings} | asdict(found)))
    else:
        for line in (*found.findings, *(f"not checked: {note}" for note in found.notes), found.verdict):
            print(printable(str(line)))
    return int(bool(found.findings))
