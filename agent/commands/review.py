"""The command `review`."""

import argparse
import json
from dataclasses import replace

from agent import config
from agent.commands.common import own_options, refuse_early, settings_of
from agent.errors import ReviewPending, UsageError
from agent.loop.session import REJECTED, Drive, resume_command
from agent.record import hashes, runs
from agent.record.paths import RunPaths
from sandbox.printable import printable


def review_run(arguments: argparse.Namespace) -> int:
    """Show, make or amend; 8 while a review is pending."""
    from agent.results import review
    from agent.results.schema import Decision

    settings = settings_of(arguments)
    paths = runs.find(settings.runs, arguments.run)
    if arguments.edit:
        return _amend(paths, arguments, settings)
    decision: Decision | None = arguments.decision or ("comment" if arguments.comment else None)
    if decision:
        with runs.locked(paths):
            said = review.add(paths, decision, arguments.comment or "", arguments.author or review.author())
            if said.about == "plan" and decision != "comment":
                rejected: tuple[runs.Status, str] = ("cancelled", REJECTED)
                hashes.stop(paths, *(rejected if decision == "reject" else ("planned", "")))
    _say_reviews(paths, arguments.json)
    return ReviewPending.exit_code if not decision and not review.decided(paths) else 0


def _say_reviews(paths: RunPaths, as_json: bool) -> None:
    from agent.results import review

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
    from agent.results import review

    if arguments.decision or arguments.comment:
        raise UsageError("--edit makes a new run, and --approve, --reject and --comment are about this one", "use one")
    options, plan = own_options(paths, "amended"), review.planned(paths)
    edits = dict(arguments.edit)
    values = {name: value for name, value in options.values.items() if name not in edits} | edits
    kept = review.proposal(plan).model_dump(mode="json", exclude_none=True)
    options = replace(options, values=values, amends=plan.hash, proposal=kept, yes=False, plan_only=True)
    options = replace(options, replay="", paces={})  # an amended replay makes nothing again
    backend = refuse_early(options, settings)
    amended = runs.create(settings.runs, options.idea, options.to_json(), parent=paths.id)
    return Drive(amended, options, settings, arguments.json, backend).go()
