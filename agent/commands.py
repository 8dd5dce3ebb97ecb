"""The commands behind the command line: one function each, taking parsed arguments, returning an exit code."""

import argparse
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import config, planner, runs
from agent.errors import AgentError, Interrupted, ReviewPending, UsageError
from agent.options import Options
from agent.paths import RunPaths

TIMES = {"": 1, "s": 1, "m": 60, "h": 3600}


def run(arguments: argparse.Namespace) -> int:
    """A new run, from the idea to the report."""
    idea = sys.stdin.read(1 << 20) if arguments.idea == "-" else arguments.idea
    options = _options(arguments, planner.check_idea(idea))
    settings = _settings(arguments)
    planner.draft(options)  # a wrong value is refused before a run exists
    runs.check_space(settings.runs)
    paths = runs.create(settings.runs, options.idea, options.to_json())
    return _advance(paths, options, settings, arguments.json)


def resume(arguments: argparse.Namespace) -> int:
    """Go on where a run stopped."""
    settings = _settings(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = Options.from_json(runs.read(paths)["options"])
    if options.plan_only or arguments.yes:
        options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    return _advance(paths, options, replace(settings, runs=paths.folder.parent), arguments.json)


def _options(arguments: argparse.Namespace, idea: str) -> Options:
    scales = list(config.cards(config.SCALES))
    if arguments.scale not in scales:
        raise UsageError(f"unknown scale {arguments.scale!r}", f"known: {', '.join(scales)}")
    if arguments.data and (arguments.data_dir or arguments.task):
        raise UsageError("--data is a task of its own: it goes with neither --task nor --data-dir", "leave one out")
    if not 1 <= arguments.attempts <= 20:
        raise UsageError(f"attempts = {arguments.attempts}: one to twenty are possible", "give --attempts 1")
    return Options(
        idea=idea,
        scale=arguments.scale,
        tasks=tuple(dict.fromkeys(arguments.task)),
        data_dir=str(Path(arguments.data_dir).absolute()) if arguments.data_dir else "",
        data=str(Path(arguments.data).absolute()) if arguments.data else "",
        method=arguments.method,
        seeds=_seeds(arguments.seeds),
        attempts=arguments.attempts,
        model=arguments.model,
        base_url=arguments.base_url,
        seconds=_seconds(arguments.budget),
        tokens=arguments.max_tokens,
        isolation=arguments.isolation,
        yes=arguments.yes,
        plan_only=arguments.plan_only,
        values=dict(_value(text) for text in arguments.values),
    )


def _seeds(text: str) -> tuple[int, ...]:
    """`6` is seeds 0 to 5; `3,7` is those two."""
    if not text:
        return ()
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text) or text == "0":
        raise UsageError(f"seeds {text!r} are neither a count nor a list", "give --seeds 6 or --seeds 3,7,11")
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) == 1 and numbers[0] > 100:
        raise UsageError(f"{numbers[0]} seeds are too many", "one to a hundred are possible")
    return tuple(numbers) if len(numbers) > 1 else tuple(range(numbers[0]))


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found or not float(found[1]):
        raise UsageError(f"budget {text!r} is not a time", "give 90s, 30m or 2h")
    return float(found[1]) * TIMES[found[2]]


def _value(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise UsageError(f"--set {text!r} is not FIELD=VALUE", "for example --set temperature=4")
    try:
        return field.strip(), json.loads(value)
    except ValueError:
        return field.strip(), value


def _settings(arguments: argparse.Namespace) -> config.Settings:
    settings = config.Settings.read()
    return replace(settings, runs=Path(arguments.runs_dir).absolute()) if arguments.runs_dir else settings


def _advance(paths: RunPaths, options: Options, settings: config.Settings, as_json: bool) -> int:
    """Drive the run to its next stop, keep its status true whatever happens, and say how to go on."""
    with runs.locked(paths), _cancellable() as cancelled:
        try:
            return _drive(paths, options, settings, as_json, cancelled)
        except AgentError as error:
            waiting, stopped = isinstance(error, ReviewPending), isinstance(error, Interrupted)
            status = "awaiting_review" if waiting else "cancelled" if stopped else "failed"
            runs.update(paths, status=status, reason=error.message)
            again = f"kdagent resume {paths.id}" + (" --yes" if waiting else "")
            error.hint = f"{error.hint}; " * bool(error.hint) + f"go on with: {again}"
            raise
        except BaseException as error:
            runs.update(paths, status="failed", reason=f"{type(error).__name__}: {error}")
            raise


def _drive(
    paths: RunPaths, options: Options, settings: config.Settings, as_json: bool, cancelled: threading.Event
) -> int:
    from rich.console import Console

    from agent.progress import Progress
    from agent.show import plan_table

    progress = Progress(Console(stderr=as_json), quiet=as_json)
    steps = _steps(paths, options, settings, progress, cancelled)
    runs.update(paths, status="running")
    plan = steps.make_plan()
    plan_table(
        progress.console, plan, json.loads(paths.facts.read_text()), steps.harness.backend
    ) if not as_json else None
    if options.plan_only:
        runs.update(paths, status="planned")
        return _finish(paths, as_json, f"planned; go on with: kdagent resume {paths.id} --yes")
    from agent.graph import advance

    state = advance(steps, paths.state)
    if "review" in state["waiting"]:
        state = advance(steps, paths.state, answer=_ask(as_json))
    if not state.get("approved"):
        runs.update(paths, status="cancelled", reason="the plan was rejected")
        return _finish(paths, as_json, "the plan was rejected")
    runs.update(paths, status="succeeded" if state["kept"] else "failed", verdict=state["verdict"])
    return _finish(paths, as_json, "")


def _steps(
    paths: RunPaths, options: Options, settings: config.Settings, progress: Any, cancelled: threading.Event
) -> Any:
    from agent.conversation import Conversation
    from agent.gateway import Gateway
    from agent.harness import Harness
    from agent.steps import Steps
    from sandbox.isolation import choose

    started = time.monotonic()
    budget = options.seconds or config.cards(config.SCALES)[options.scale]["seconds"]
    backend = choose(options.isolation)
    progress.say(f"run {paths.id}\nisolation: {backend.name}, level {backend.level}" + _weak(backend.level))
    harness = Harness(paths, settings, backend, progress, cancelled, lambda: budget - (time.monotonic() - started))
    gateway = Gateway(source(options, settings), Conversation(paths.conversation), options.tokens or 200_000)
    return Steps(paths, options, settings, gateway, harness, started)


def _weak(level: int) -> str:
    return "" if level else " (edited code runs with your rights: files and network are open to it)"


def source(options: Options, settings: config.Settings) -> Any:
    """The endpoint that was named, or the embedded recipes."""
    model, base_url = options.model or settings.model, options.base_url or settings.base_url
    if not model and not base_url:
        from agent.recipes import Recipes

        return Recipes()
    if not model:
        raise UsageError(f"no model named for the endpoint {base_url}", "give --model NAME")
    from agent.gateway import Endpoint

    return Endpoint(model, base_url or None, settings.api_key or None)


def _ask(as_json: bool) -> bool:
    """Ask the person in front of the terminal. Raises ReviewPending where there is none."""
    if as_json or not sys.stdin.isatty():
        raise ReviewPending("the plan waits for approval", "approve it with --yes")
    return input("train this plan? [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def _cancellable() -> Iterator[threading.Event]:
    """Ctrl-C asks running processes to stop, so that the record is whole when kdagent ends; twice ends it at once."""
    cancelled = threading.Event()
    previous = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        if cancelled.is_set():
            signal.signal(signal.SIGINT, previous)
        cancelled.set()

    signal.signal(signal.SIGINT, stop)
    try:
        yield cancelled
    finally:
        signal.signal(signal.SIGINT, previous)


def _finish(paths: RunPaths, as_json: bool, note: str) -> int:
    """The run's id and the report's path, last."""
    record = runs.read(paths)
    if as_json:
        results = json.loads(paths.results.read_text()) if paths.results.exists() else None
        print(json.dumps({"schema": 1, "run": record, "report": str(paths.report), "results": results}))
        return 0
    if note:
        print(note)
    if paths.results.exists():
        results = json.loads(paths.results.read_text())
        print(f"\n{results['verdict']}: {results['conclusion']}")
    print(f"run: {paths.id}")
    print(f"report: {paths.report}" if paths.report.exists() else f"plan: {paths.plan}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Render the report again from results.json."""
    from agent.report import render_report
    from agent.results import Results

    paths = runs.find(_settings(arguments).runs, arguments.run)
    if not paths.results.exists():
        status = runs.read(paths)["status"]
        raise UsageError(f"run {paths.id} is {status}: it has no results yet", f"kdagent resume {paths.id}")
    runs.write_whole(paths.report, render_report(Results.model_validate_json(paths.results.read_text())))
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
    found = [runs.read(paths) for paths in runs.every(_settings(arguments).runs)]
    if arguments.json:
        print(json.dumps({"schema": 1, "runs": found}))
        return 0
    for record in found:
        print(f"{record['id']}  {record['status']:<16}{record.get('verdict', ''):<14}{record['options']['idea'][:60]}")
    if not found:
        print('no runs yet; start one: kdagent run "efficient KD for small models" --yes')
    return 0


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
        print(
            f"{name}: {card['title']}\n  {card['summary']}\n  formula: {card['formula']}\n  source: {card['source']}\n"
        )
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from agent.doctor import examine

    return examine(_settings(arguments), arguments.data_dir, arguments.base_url, arguments.json)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run, "resume": resume, "show": show, "report": report, "runs": list_runs, "tasks": tasks,
    "methods": methods, "doctor": doctor,
}  # fmt: skip
