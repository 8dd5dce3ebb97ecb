"""The commands behind the command line: one function each, taking parsed arguments, returning an exit code."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import config, runs, seal, shelf
from agent.drive import REJECTED, Drive, resume_command, source
from agent.errors import DataError, ReviewPending, UsageError
from agent.options import Options
from agent.paths import RunPaths
from sandbox.printable import printable

if TYPE_CHECKING:
    from agent.plan import Plan
    from sandbox.isolation.backend import Backend


def run(arguments: argparse.Namespace) -> int:
    """A new run, from the idea to the report."""
    options, settings = _options(arguments), _settings(arguments)
    backend = _refuse_early(options, settings)
    paths = runs.create(settings.runs, options.idea, options.to_json(), tags=dict.fromkeys(arguments.tag))
    if (last := next(runs.every(settings.runs))) != paths:
        print(f"kdagent: this clock is behind that of {last.id}: @last is that run, not {paths.id}", file=sys.stderr)
    return Drive(paths, options, settings, arguments.json, backend).go()


def resume(arguments: argparse.Namespace) -> int:
    """Go on where a run stopped."""
    settings = _settings(arguments)
    paths = runs.find(settings.runs, arguments.run)
    options = _own(paths, "resumed")
    options = replace(options, plan_only=False, yes=options.yes or arguments.yes)
    drive = Drive(paths, options, settings, arguments.json)
    return _again(drive) if options.replay else drive.go()


def _again(drive: Drive) -> int:
    """Go on with a replay that was stopped."""
    from agent import replay

    if drive.options.replay in ("report", "agent"):
        problem = f"run {drive.paths.id} is a replay at level {drive.options.replay}, which takes seconds"
        raise UsageError(problem, f"replay it again: kdagent replay {runs.read(drive.paths)['parent']}")
    original = runs.find(drive.settings.runs, runs.read(drive.paths)["parent"])
    return replay.replay(original, drive.paths, drive).go()


def replay_run(arguments: argparse.Namespace) -> int:
    """A run again from its record; 0 where it matches, 1 where it does not, 6 where the record does not fit."""
    from agent import replay

    settings, level = _settings(arguments), arguments.level
    original = runs.find(settings.runs, arguments.run)
    replay.replayable(original)
    record, trains = runs.read(original), level in ("full", "live")
    if "imported" in record and trains and not arguments.yes:
        problem = f"run {original.id} was imported, and level {level} runs its train.py, isolated"
        raise UsageError(problem, "read its report first, then add --yes; or replay it at --level agent")
    options = _replayed(Options.from_json(record["options"]), arguments, "imported" in record)
    options = replace(options, paces=runs.paces(original) if level != "live" else {})
    runs.check_folder(settings.runs, "--runs-dir")
    backend = _refuse_early(options, settings) if trains else None
    made = runs.create(settings.runs, options.idea, options.to_json(), parent=original.id)
    return replay.replay(original, made, Drive(made, options, settings, arguments.json, backend)).go()


def _replayed(options: Options, arguments: argparse.Namespace, foreign: bool) -> Options:
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
        data_dir=_absolute(arguments.data_dir) or options.data_dir,
        data=_absolute(arguments.data) or options.data,
        model=arguments.model or options.model,
        base_url=arguments.base_url or options.base_url,
    )


def _own(paths: RunPaths, action: str) -> Options:
    """The options of a run that was made here; those of an imported one may be anybody's."""
    record = runs.read(paths)
    options = Options.from_json(record["options"])
    if "imported" in record:
        raise UsageError(f"run {paths.id} was imported: it cannot be {action}", f"ask for your own: {options.command}")
    return options


def _options(arguments: argparse.Namespace) -> Options:
    from agent import planner
    from agent.environment import multiplies_bf16

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
        bf16=multiplies_bf16(),
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
        "train_rows": arguments.train_size,
        "transfer_rows": arguments.transfer_size,
        "label_noise": arguments.label_noise,
        "seeds": arguments.seeds,
        "attempts": arguments.attempts,
        "budget.seconds": arguments.budget,
        "budget.tokens": arguments.max_tokens,
    }
    return {path: value for path, value in flags.items() if value is not None} | dict(arguments.set)


def _settings(arguments: argparse.Namespace) -> config.Settings:
    settings = config.Settings.read()
    return replace(settings, runs=Path(arguments.runs_dir).absolute()) if arguments.runs_dir else settings


def _refuse_early(options: Options, settings: config.Settings) -> "Backend":
    """Raises what can be known to be wrong before a run exists; the isolation that was tried on the way."""
    from agent import planner
    from sandbox.isolation.choose import choose
    from sandbox.workspace import Workspace

    _check_data(options)
    planner.draft(options)
    runs.check_folder(settings.runs, "--runs-dir")
    runs.check_folder(settings.cache, "KDAGENT_CACHE")
    Workspace(settings.runs)  # nothing is made there; it looks for git
    backend = choose(options.isolation)
    if options.replay in ("", "live"):
        source(options, settings)
    return backend


def _check_data(options: Options) -> None:
    from agent import planner

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


def report(arguments: argparse.Namespace) -> int:
    """Render the report again from results.json."""
    from agent import review

    paths = runs.find(_settings(arguments).runs, arguments.run)
    if not runs.results(paths):
        status = runs.read(paths)["status"]
        raise UsageError(f"run {paths.id} is {status}: it has no results yet", f"go on with: {resume_command(paths)}")
    review.write(paths)
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


def review_run(arguments: argparse.Namespace) -> int:
    """Show, make or amend; 8 while a review is pending."""
    from agent import review

    settings = _settings(arguments)
    paths = runs.find(settings.runs, arguments.run)
    if arguments.edit:
        return _amend(paths, arguments, settings)
    decision: review.Decision | None = arguments.decision or ("comment" if arguments.comment else None)
    if decision:
        with runs.locked(paths):
            said = review.add(paths, decision, arguments.comment or "", arguments.author or review.author())
            if said.about == "plan" and decision != "comment":
                rejected: tuple[runs.Status, str] = ("cancelled", REJECTED)
                seal.stop(paths, *(rejected if decision == "reject" else ("planned", "")))
    _say_reviews(paths, arguments.json)
    return ReviewPending.exit_code if not decision and not review.decided(paths) else 0


def _say_reviews(paths: RunPaths, as_json: bool) -> None:
    from agent import review

    (about, _), pending, said = review.under_review(paths), not review.decided(paths), review.read(paths)
    if as_json:
        known = {"run": runs.read(paths), "about": about, "pending": pending}
        print(json.dumps({"schema": 1} | known | {"reviews": [each.model_dump() for each in said]}))
        return
    for each in said:
        text = " ".join(each.text.split())
        print(printable(f"{each.time}  {each.about:<7}{each.decision:<8} {each.author}: {text}"))
    print(_review_next(paths, about, pending))


def _review_next(paths: RunPaths, about: str, pending: bool) -> str:
    """Where the reviewed thing is, and what can be done."""
    if pending:
        look = paths.report if about == "report" else paths.plan
        return f"the {about} waits for a review: read {look}, then kdagent review {paths.id} --approve or --reject"
    return f"report: {paths.report}" if about == "report" else f"go on with: {resume_command(paths)}"


def _amend(paths: RunPaths, arguments: argparse.Namespace, settings: config.Settings) -> int:
    """A new run with a new plan that names the old one as its parent; the old run stays as it is."""
    from agent import review

    if arguments.decision or arguments.comment:
        raise UsageError("--edit makes a new run, and --approve, --reject and --comment are about this one", "use one")
    options, plan = _own(paths, "amended"), review.planned(paths)
    edits = dict(arguments.edit)
    values = {name: value for name, value in options.values.items() if name not in edits} | edits
    kept = review.proposal(plan).model_dump(mode="json", exclude_none=True)
    options = replace(options, values=values, amends=plan.hash, proposal=kept, yes=False, plan_only=True)
    options = replace(options, replay="", paces={})  # an amended replay makes nothing again
    backend = _refuse_early(options, settings)
    amended = runs.create(settings.runs, options.idea, options.to_json(), parent=paths.id)
    return Drive(amended, options, settings, arguments.json, backend).go()


def tasks(arguments: argparse.Namespace) -> int:
    found = config.cards(config.TASKS)
    if arguments.json:
        print(json.dumps({"schema": 1, "tasks": found}))
        return 0
    for name, card in found.items():
        where = "embedded, works offline" if card["embedded"] else f"--data-dir, or the hub ({card['hub']})"
        print(f"{name:<15} {card['kind']:<8} {card['title']}: {card['about']} [{where}]")
    print("your own        --data FILE.csv, FILE.parquet, or a folder of images with one sub-folder per class")
    return 0


def methods(arguments: argparse.Namespace) -> int:
    found = config.cards(config.METHODS)
    if arguments.words:
        name = _shown(arguments.words, [*found])
        found = {name: found[name] | {"measured": _measured(name)}}
    if arguments.json:
        print(json.dumps({"schema": 1, "methods": found}))
    elif arguments.words:
        from agent.render import render

        print(render("methods/card.txt.j2", method=name, card=found[name]), end="")
    else:
        print("".join(f"{name:<14} {card['title']}\n" for name, card in found.items()), end="")
        print("`kdagent methods show NAME`: formula, source, needs, cost, cautions, and what was measured here")
    return 0


def _shown(words: list[str], known: list[str]) -> str:
    """The method of `show NAME`. Raises UsageError."""
    if len(words) != 2 or words[0] != "show" or words[1] not in known:
        problem = (
            f"no method {words[-1]!r:.80}" if words[0] == "show" and len(words) == 2 else f"not known: {words[0]!r:.80}"
        )
        raise UsageError(problem, f"kdagent methods show NAME, with one of {', '.join(known)}")
    return words[1]


def _measured(name: str) -> list[dict[str, Any]]:
    """What `make effects` wrote down about a method."""
    known: list[dict[str, Any]] = json.loads(config.EFFECTS.read_text())["claims"]
    return [claim for claim in known if name in claim["methods"]]


def doctor(arguments: argparse.Namespace) -> int:
    from agent.doctor import examine

    return examine(_settings(arguments), arguments.data_dir or "", arguments.base_url or "", arguments.json)


def verify(arguments: argparse.Namespace) -> int:
    """Hold a run, or a copy of its folder anywhere, against its own record; 1 when something differs."""
    from dataclasses import asdict

    from agent.verify import verify

    copied = Path(arguments.run).absolute()
    paths = RunPaths(copied) if (copied / "run.json").is_file() else runs.find(_settings(arguments).runs, arguments.run)
    if runs.in_use(paths):
        raise UsageError(f"run {paths.id} is in use by another kdagent process", "wait for it, or stop it first")
    found = verify(paths)
    if arguments.json:
        print(json.dumps({"schema": 1, "verified": not found.findings} | asdict(found)))
    else:
        for line in (*found.findings, *(f"not checked: {note}" for note in found.notes), found.verdict):
            print(printable(str(line)))
    return int(bool(found.findings))


def lint(arguments: argparse.Namespace) -> int:
    """What is wrong with reported metrics; 1 when something is."""
    from dataclasses import asdict

    from agent.contradictions import contradictions, facts
    from agent.reported import read

    evaluations = [each for name in arguments.metrics for each in read(Path(name))]
    found = contradictions(evaluations, _held_against(arguments))
    said = [(each.name, dict(facts(each))) for each in evaluations]
    if arguments.json:
        known = [{"about": name, "facts": sentences} for name, sentences in said]
        print(json.dumps({"schema": 1, "evaluations": known, "findings": [asdict(each) for each in found]}))
    else:
        for name, sentences in said:
            print("\n".join([name, *(f"  {fact:<9} {sentence}" for fact, sentence in sentences.items())]))
        print("\n".join(f"{each.level} {each.about}: {each.message}" for each in found) or "nothing is wrong")
    return int(any(each.level == "E" for each in found))


def _held_against(arguments: argparse.Namespace) -> "Plan | None":
    """The plan that was named: its file, or the run that has it."""
    named = arguments.plan
    if not named:
        return None
    found = (
        runs.read_plan(Path(named)) if Path(named).is_file() else runs.plan(runs.find(_settings(arguments).runs, named))
    )
    if not found:
        raise UsageError(f"run {named} has no plan yet", "name a plan.json, or a run that was planned")
    return found


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
