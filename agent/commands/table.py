"""The table of commands."""

import argparse
from collections.abc import Callable

from agent.commands import shelf
from agent.commands.catalogue import methods, tasks
from agent.commands.metrics import lint
from agent.commands.recheck import replay_run, report, verify
from agent.commands.review import review_run
from agent.commands.run import doctor, resume, run, show

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "resume": resume,
    "replay": replay_run,
    "show": show,
    "report": report,
    "verify": verify,
    "review": review_run,
    "tasks": tasks,
    "methods": methods,
    "doctor": doctor,
    "lint": lint,
} | shelf.COMMANDS
