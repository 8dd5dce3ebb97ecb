"""The command `lint`."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from agent.commands.common import settings_of
from agent.errors import UsageError
from agent.plan.read import plan_of, read_plan
from agent.record import runs

if TYPE_CHECKING:
    from agent.plan.plan import Plan


def lint(arguments: argparse.Namespace) -> int:
    """What is wrong with reported metrics; 1 when something is."""
    from dataclasses import asdict

    from agent.metrics.contradictions import contradictions, facts
    from agent.metrics.reported import read

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
    found = read_plan(Path(named)) if Path(named).is_file() else plan_of(runs.find(settings_of(arguments).runs, named))
    if not found:
        raise UsageError(f"run {named} has no plan yet", "name a plan.json, or a run that was planned")
    return found
