"""The commands behind the command line: one function each, taking parsed arguments, returning an exit code."""

import argparse
import sys
from dataclasses import replace

from agent.commands.common import options_of, own_options, refuse_early, settings_of
from agent.commands.recheck import resume_replay
from agent.loop.session import Drive
from agent.record import runs


def run(arguments: argparse.Namespace) -> int:
    """A new run, from the idea to the report."""
    options, settings = options_of(arguments), settings_of(arguments)
    backend = refuse_early(options, settings)
    paths = runs.create(settings.runs, options.idea, options.to_json(), tags=dict.fromkeys(arguments.tag))
    if (last := next(runs.every(settings.runs))) != paths:
        print(f"kdagent: this clock is behind that of {last.id}: @last is that run, not {paths.id}", file=sys.stderr)
    return Drive(paths, options, settings, arguments.json, backend).go()


def resume(arguments: argparse.Namespace) -> int:
    """Go on where a run stopped."""
    settings = settings_of(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = own_options(paths, "resumed")
    options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    drive = Drive(paths, options, settings, arguments.json)
    return resume_replay(drive) if options.replay else drive.go()


def show(arguments: argparse.Namespace) -> int:
    from agent.commands.show import show_run

    paths = runs.find(settings_of(arguments).runs, arguments.run)
    show_run(paths, arguments.json)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from agent.commands.doctor import examine

    return examine(settings_of(arguments), arguments.data_dir or "", arguments.base_url or "", arguments.json)
