"""From parsed arguments to the settings and options of a run, and the refusals before a run exists."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent import config
from agent.errors import DataError, UsageError
from agent.loop.going_on import next_command
from agent.loop.session import source
from agent.plan.options import Options
from agent.record import runs
from agent.record.paths import RunPaths

if TYPE_CHECKING:
    from agent.plan.draft import Draft
    from sandbox.isolation.backend import Backend


def own_options(paths: RunPaths, action: str) -> Options:
    """The options of a run that was made here; those of an imported one may be anybody's."""
    record = runs.read(paths)
    options = Options.from_json(record["options"])
    if "imported" in record:
        raise UsageError(
            f"run {paths.id} was imported: it cannot be {action}", f"start your own run: {next_command(paths)}"
        )
    return options


def options_of(arguments: argparse.Namespace) -> Options:
    from agent.jobs.machine import multiplies_bf16
    from agent.plan.defaults import check_idea

    return Options(
        idea=check_idea(_standard_input() if arguments.idea == "-" else arguments.idea),
        scale=arguments.scale,
        tasks=tuple(dict.fromkeys(arguments.task)),
        data_dir=absolute(arguments.data_dir),
        data=absolute(arguments.data),
        model=arguments.model or "",
        base_url=arguments.base_url or "",
        isolation=arguments.isolation,
        yes=arguments.yes,
        plan_only=arguments.plan_only,
        values=values_of(arguments),
        bf16=multiplies_bf16(),
    )


def _standard_input() -> str:
    """At most a megabyte of it; bytes that are not UTF-8 are left for the check of the idea to refuse."""
    return sys.stdin.buffer.read(1 << 20).decode(errors="surrogateescape") if sys.stdin else ""


def absolute(path: str | None) -> str:
    return str(Path(path).absolute()) if path else ""


def values_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The plan fields the user fixed, by flag or by --set."""
    flags = {
        "method.name": arguments.method,
        "train_rows": arguments.train_size,
        "transfer_rows": arguments.transfer_size,
        "label_noise": arguments.label_noise,
        "seeds": arguments.seeds,
        "attempts": arguments.attempts,
        "budget.seconds": arguments.budget,
        "budget.tokens": arguments.max_tokens,
    }
    return {path: value for path, value in flags.items() if value is not None} | dict(arguments.set)


class Foreseen(NamedTuple):
    """What was made while a run was looked at before it exists."""

    backend: "Backend"
    """The isolation that was tried."""
    draft: "Draft"
    """What its plan starts from."""


def refuse_early(options: Options, settings: config.Settings) -> Foreseen:
    """Raises errors that can be known before a run exists; returns what was made on the way:
    the isolation that was tried, and the draft of the plan."""
    from agent.plan import planner
    from sandbox.isolation.choose import choose
    from sandbox.workspace import Workspace

    _check_data(options)
    draft = planner.draft(options)
    runs.check_folder(settings.runs, "--runs-dir")
    runs.check_folder(settings.cache, "KDAGENT_CACHE")
    Workspace(settings.runs)  # makes nothing there; checks for git
    backend = choose(options.isolation)
    if options.replay in ("", "live"):
        source(options, settings)
    return Foreseen(backend, draft)


def _check_data(options: Options) -> None:
    from agent.plan.defaults import tracks

    if options.data and (options.data_dir or options.tasks):
        raise UsageError(
            "--data is a task of its own: it cannot be combined with --task or --data-dir", "leave one of them out"
        )
    if not options.data_dir:
        return
    if not Path(options.data_dir).is_dir():
        raise DataError(f"data folder {options.data_dir} does not exist", "check --data-dir")
    names, cards = tracks(options), config.cards(config.TASKS)
    if all(cards[name]["embedded"] for name in names):
        problem = f"--data-dir has no effect: {' and '.join(names)} ship with kdagent or its packages"
        raise UsageError(problem, "name a task that is in the folder with --task")
