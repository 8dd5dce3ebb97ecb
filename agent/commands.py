"""The commands behind the command line: one function each, taking parsed arguments, returning an exit code."""

import argparse
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import config, planner, runs
from agent.errors import BudgetError, DataError, Interrupted, PlanError, ReviewPending, TrainingError, UsageError
from agent.options import Options
from agent.paths import RunPaths
from agent.plan import Budget
from sandbox.errors import KdagentError

if TYPE_CHECKING:
    from agent.gateway import Source
    from agent.progress import Progress
    from agent.steps import Steps

ENDED: dict[str, runs.Status] = {"complete": "succeeded", "partial": "partial", "failed": "failed"}
"""What results.json calls a run that came to its end → what run.json calls it."""
LASTING = (UsageError, PlanError, BudgetError)  # they would come again if the run went on


def run(arguments: argparse.Namespace) -> int:
    """A new run, from the idea to the report."""
    options, settings = _options(arguments), _settings(arguments)
    _refuse_early(options, settings)
    paths = runs.create(settings.runs, options.idea, options.to_json())
    return _advance(paths, options, settings, arguments.json)


def resume(arguments: argparse.Namespace) -> int:
    """Go on where a run stopped."""
    settings = _settings(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = Options.from_json(runs.read(paths)["options"])
    options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    return _advance(paths, options, settings, arguments.json)


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        idea=planner.check_idea(_standard_input() if arguments.idea == "-" else arguments.idea),
        scale=arguments.scale,
        tasks=tuple(dict.fromkeys(arguments.task)),
        data_dir=_absolute(arguments.data_dir),
        data=_absolute(arguments.data),
        model=arguments.model or "",
        base_url=arguments.base_url or "",
        isolation=arguments.isolation,
        yes=arguments.yes,
        plan_only=arguments.plan_only,
        values=_values(arguments),
    )


def _standard_input() -> str:
    """At most a megabyte of it; bytes that are no UTF-8 are left for the check of the idea to refuse."""
    return sys.stdin.buffer.read(1 << 20).decode(errors="surrogateescape") if sys.stdin else ""


def _absolute(path: str | None) -> str:
    return str(Path(path).absolute()) if path else ""


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The plan fields the user fixed, by flag or by --set."""
    flags = {
        "method.name": arguments.method,
        "seeds": arguments.seeds,
        "attempts": arguments.attempts,
        "budget.seconds": arguments.budget,
        "budget.tokens": arguments.max_tokens,
    }
    return {path: value for path, value in flags.items() if value is not None} | dict(arguments.set)


def _settings(arguments: argparse.Namespace) -> config.Settings:
    settings = config.Settings.read()
    return replace(settings, runs=Path(arguments.runs_dir).absolute()) if arguments.runs_dir else settings


def _refuse_early(options: Options, settings: config.Settings) -> None:
    """Raises what can be known to be wrong before a run exists."""
    from sandbox.isolation import choose
    from sandbox.workspace import Workspace

    _check_data(options)
    planner.draft(options)
    runs.check_folder(settings.runs, "--runs-dir")
    runs.check_folder(settings.cache, "KDAGENT_CACHE")
    Workspace(settings.runs)  # nothing is made there; it looks for git
    choose(options.isolation)
    source(options, settings)


def _check_data(options: Options) -> None:
    if options.data and (options.data_dir or options.tasks):
        raise UsageError("--data is a task of its own: it goes with neither --task nor --data-dir", "leave one out")
    if not options.data_dir:
        return
    if not Path(options.data_dir).is_dir():
        raise DataError(f"data folder {options.data_dir} does not exist", "check --data-dir")
    names, cards = planner.tracks(options), config.cards(config.TASKS)
    if all(cards[name]["embedded"] for name in names):
        problem = f"--data-dir is of no use: {' and '.join(names)} ship with the installed packages"
        raise UsageError(problem, "name a task that is in the folder with --task")


def _advance(paths: RunPaths, options: Options, settings: config.Settings, as_json: bool) -> int:
    """Drive the run to its next stop, and keep its status true whatever happens."""
    with runs.locked(paths), _cancellable() as cancelled, _noted(paths), runs.refusals():
        return _drive(paths, options, settings, as_json, cancelled)


@contextmanager
def _noted(paths: RunPaths) -> Iterator[None]:
    """Write down why a run stopped, and say how to go on."""
    try:
        yield
    except BaseException as error:
        status: runs.Status = "failed"
        if isinstance(error, ReviewPending | Interrupted):
            status = "awaiting_review" if isinstance(error, ReviewPending) else "cancelled"
        reason = error.message if isinstance(error, KdagentError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a full disk must not hide why
            runs.update(paths, status=status, reason=reason)
        if isinstance(error, KdagentError) and type(error) not in LASTING:
            approve = " --yes" * isinstance(error, ReviewPending)
            again = f"go on with: {_resume(paths)}{approve}"
            error.hint = f"{error.hint}; {again}" if error.hint else again
        raise


def _resume(paths: RunPaths) -> str:
    """The command that goes on with a run."""
    folder = paths.folder.parent
    elsewhere = "" if folder == config.Settings.read().runs else f" --runs-dir {shlex.quote(str(folder))}"
    return f"kdagent resume {paths.id}{elsewhere}"


def _drive(
    paths: RunPaths, options: Options, settings: config.Settings, as_json: bool, cancelled: threading.Event
) -> int:
    from rich.console import Console

    from agent.graph import advance
    from agent.progress import Progress
    from agent.show import plan_table

    progress = Progress(Console(stderr=as_json), quiet=as_json)
    steps = _steps(paths, options, settings, progress, cancelled)
    runs.update(paths, status="running", reason="")
    plan = steps.make_plan()
    if not steps.events.count("planned", hash=plan.hash):
        raise DataError(f"{paths.plan} is not the plan that was frozen", "restore the file, or start a new run")
    if not as_json:
        plan_table(progress.console, plan, json.loads(paths.facts.read_text()))
    if options.plan_only:
        runs.update(paths, status="planned")
        _finish(paths, as_json, f"planned; go on with: {_resume(paths)} --yes")
        return 0
    state = advance(steps, paths.state)
    if "review" in state["waiting"]:
        state = advance(steps, paths.state, answer=_ask(as_json))
    found = runs.results(paths)
    if not found:
        runs.update(paths, status="cancelled", reason="the plan was rejected")
        _finish(paths, as_json, "the plan was rejected")
        return 0
    runs.update(paths, status=ENDED[found.status], reason=found.status_reason, verdict=found.verdict)
    _finish(paths, as_json, found.status_reason)
    return TrainingError.exit_code if found.status == "failed" else 0


def _steps(
    paths: RunPaths, options: Options, settings: config.Settings, progress: "Progress", cancelled: threading.Event
) -> "Steps":
    from agent.conversation import Conversation
    from agent.gateway import Gateway
    from agent.harness import Harness
    from agent.steps import Steps
    from sandbox.isolation import choose

    started = time.monotonic()
    backend, budget = choose(options.isolation), _budget(paths, options)
    weak = "" if backend.level else " (edited code runs with your rights: files and network are open to it)"
    progress.say(f"run {paths.id}\nisolation: {backend.name}, level {backend.level}{weak}")
    harness = Harness(
        paths, settings, backend, progress, cancelled, lambda: started + budget.seconds - time.monotonic()
    )
    gateway = Gateway(source(options, settings), Conversation(paths.conversation), budget.tokens)
    return Steps(paths, options, settings, gateway, harness)


def _budget(paths: RunPaths, options: Options) -> Budget:
    """The plan's, or what it is going to be."""
    plan = runs.plan(paths)
    return plan.budget if plan else Budget.model_validate(planner.draft(options).values["budget"])


def source(options: Options, settings: config.Settings) -> "Source":
    """The endpoint that was named, or the embedded recipes."""
    model, base_url = options.model or settings.model, options.base_url or settings.base_url
    if not model and not base_url:
        from agent.recipes import Recipes

        return Recipes()
    if not model:
        raise UsageError("an endpoint is named, but no model", "give --model NAME")
    if {"@", "?"} & set(options.base_url):
        problem = "--base-url holds a password or a query, and the run would record it"
        raise UsageError(problem, "set KDAGENT_BASE_URL instead, which is not recorded")
    from agent.gateway import Endpoint

    return Endpoint(model, base_url or None, settings.api_key or None)


def _ask(as_json: bool) -> bool:
    """Ask the person in front of the terminal. Raises ReviewPending where there is none."""
    if as_json or not sys.stdin or not sys.stdin.isatty():
        raise ReviewPending("the plan waits for approval")
    with _on_signal(signal.default_int_handler):  # nothing runs that would have to stop first
        try:
            return input("train this plan? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            raise ReviewPending("the plan waits for approval") from None


@contextmanager
def _cancellable() -> Iterator[threading.Event]:
    """Ctrl-C asks running processes to stop, so that the record is whole when kdagent ends; twice ends it at once."""
    cancelled = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    with _on_signal(stop):
        yield cancelled


@contextmanager
def _on_signal(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Let `handler` take Ctrl-C, and the request to end that `kill` and batch systems send."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _finish(paths: RunPaths, as_json: bool, note: str) -> None:
    """The run's id and the report's path, last."""
    results = runs.results(paths)
    if as_json:
        said = results.model_dump(mode="json", by_alias=True) if results else None
        print(json.dumps({"schema": 1, "run": runs.read(paths), "report": str(paths.report), "results": said}))
        return
    if note:
        print(note)
    if results:
        print(f"\n{results.verdict}: {results.conclusion}")
    print(f"run: {paths.id}")
    print(f"report: {paths.report}" if paths.report.exists() else f"plan: {paths.plan}")


def report(arguments: argparse.Namespace) -> int:
    """Render the report again from results.json."""
    from agent.report import render_report

    paths = runs.find(_settings(arguments).runs, arguments.run)
    results = runs.results(paths)
    if not results:
        status = runs.read(paths)["status"]
        raise UsageError(f"run {paths.id} is {status}: it has no results yet", f"go on with: {_resume(paths)}")
    runs.write_whole(paths.report, render_report(results))
    if arguments.json:
        print(json.dumps({"schema": 1, "run": paths.id, "report": str(paths.report)}))
    else:
        print(paths.report)
    return 0


def show(arguments: argparse.Namespace) -> int:
    from agent.show import show_run

    paths = runs.find(_settings(arguments).runs, arguments.run)
    show_run(paths, arguments.json)
    return 0


def list_runs(arguments: argparse.Namespace) -> int:
    found = [_listed(paths) for paths in runs.every(_settings(arguments).runs)]
    if arguments.json:
        print(json.dumps({"schema": 1, "runs": found}))
        return 0
    for record in found:
        print(f"{record['id']}  {record['status']:<16}{record.get('verdict', ''):<14}{record['options']['idea'][:60]}")
    if not found:
        print('no runs yet; start one: kdagent run "efficient KD for small models" --yes')
    return 0


def _listed(paths: RunPaths) -> dict[str, Any]:
    try:
        return runs.read(paths)
    except UsageError:
        return {"id": paths.id, "status": "unreadable", "options": {"idea": ""}}


def tasks(arguments: argparse.Namespace) -> int:
    found = config.cards(config.TASKS)
    if arguments.json:
        print(json.dumps({"schema": 1, "tasks": found}))
        return 0
    for name, card in found.items():
        where = "embedded, works offline" if card["embedded"] else f"--data-dir, or the hub ({card['hub']})"
        print(f"{name:<12} {card['kind']:<6} {card['title']}: {card['about']} [{where}]")
    print("your own     --data FILE.csv, FILE.parquet, or a folder of images with one sub-folder per class")
    return 0


def methods(arguments: argparse.Namespace) -> int:
    found = config.cards(config.METHODS)
    if arguments.json:
        print(json.dumps({"schema": 1, "methods": found}))
        return 0
    for name, card in found.items():
        print(f"{name}: {card['title']}\n  {card['summary']}")
        print(f"  formula: {card['formula']}\n  source: {card['source']}\n")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from agent.doctor import examine

    return examine(_settings(arguments), arguments.data_dir or "", arguments.base_url or "", arguments.json)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "resume": resume,
    "show": show,
    "report": report,
    "runs": list_runs,
    "tasks": tasks,
    "methods": methods,
    "doctor": doctor,
}
