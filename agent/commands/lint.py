"""`kdagent lint`: contradictions in reported metrics; 1 when there are any."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import common, text
from agent.errors import UsageError
from agent.terminal import say, say_json

if TYPE_CHECKING:
    from agent.plan.plan import Plan


def arguments(parser: ArgumentParser) -> None:
    common(parser)
    parser.add_argument(
        "metrics", nargs="+", metavar="METRICS.json", help="metrics that a Trainer's evaluation reported"
    )
    text(parser, "--plan", metavar="PLAN.json|RUN", help="compare with the plan in this file, or of this run")


def run(arguments: Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from agent.metrics.contradictions import contradictions, facts
    from agent.metrics.reported import read

    evaluations = [each for name in arguments.metrics for each in read(Path(name))]
    found = contradictions(evaluations, _plan(arguments))
    described = [(each.name, dict(facts(each))) for each in evaluations]
    if arguments.json:
        known = [{"about": name, "facts": sentences} for name, sentences in described]
        say_json({"schema": 1, "evaluations": known, "findings": [asdict(each) for each in found]})
    else:
        for name, sentences in described:
            say(name, *(f"  {fact:<9} {sentence}" for fact, sentence in sentences.items()))
        say(*[f"{each.level} {each.about}: {each.message}" for each in found] or ["nothing is wrong"])
    return int(any(each.level == "E" for each in found))


def _plan(arguments: Namespace) -> "Plan | None":
    """The plan that was named: its file, or the run that has it. Raises UsageError for a run without one."""
    from pathlib import Path

    from agent.commands.settings import settings_of
    from agent.plan.read import plan_of, read_plan
    from agent.record import runs

    named = arguments.plan
    if not named:
        return None
    found = read_plan(Path(named)) if Path(named).is_file() else plan_of(runs.find(settings_of(arguments).runs, named))
    if not found:
        raise UsageError(f"run {named} has no plan yet", "name a plan.json, or a planned run")
    return found


COMMAND = Command("find contradictions in reported metrics", arguments, run)
