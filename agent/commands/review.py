"""`kdagent review`: show reviews of a plan or a report, make one, or amend a plan; 8 while a review is pending."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.commands.command import Command
from agent.commands.common import one_run, setting, text
from agent.errors import ReviewPending, UsageError
from agent.terminal import say, say_json

if TYPE_CHECKING:
    from agent import config
    from agent.record.paths import RunPaths
    from agent.results.schema import Decision


def arguments(parser: ArgumentParser) -> None:
    one_run(parser)
    decision = parser.add_mutually_exclusive_group()
    for word in ("approve", "reject"):
        decision.add_argument(f"--{word}", dest="decision", action="store_const", const=word)
    text(parser, "--comment", metavar="TEXT", help="add a comment, with a decision or alone")
    about = "a new run with this plan field changed; repeat for several"
    parser.add_argument("--edit", type=setting, action="append", default=[], metavar="FIELD=VALUE", help=about)
    text(parser, "--author", metavar="NAME", help="who reviews (default: git's user.name, else the login name)")


def run(arguments: Namespace) -> int:
    from agent.commands.settings import settings_of
    from agent.record import runs
    from agent.results import review

    settings = settings_of(arguments)
    paths = runs.find(settings.runs, arguments.run)
    if arguments.edit:
        return _amend(paths, arguments, settings)
    decision: Decision | None = arguments.decision or ("comment" if arguments.comment else None)
    if decision:
        _add(paths, decision, arguments.comment or "", arguments.author or review.author())
    _say_reviews(paths, arguments.json)
    return ReviewPending.exit_code if not decision and not review.decided(paths) else 0


def _add(paths: "RunPaths", decision: "Decision", comment: str, author: str) -> None:
    """A decision about a plan also ends the run's wait."""
    from agent.loop.session import REJECTED
    from agent.record import hashes, runs
    from agent.results import review

    with runs.locked(paths):
        made = review.add(paths, decision, comment, author)
        if made.about == "plan" and decision != "comment":
            rejected: tuple[runs.RunStatus, str] = ("cancelled", REJECTED)
            hashes.stop(paths, *(rejected if decision == "reject" else ("planned", "")))


def _say_reviews(paths: "RunPaths", as_json: bool) -> None:
    from agent.record import runs
    from agent.results import review

    (about, _), pending, known = review.under_review(paths), not review.decided(paths), review.read(paths)
    if as_json:
        facts = {"run": runs.read(paths), "about": about, "pending": pending}
        say_json({"schema": 1} | facts | {"reviews": [each.model_dump() for each in known]})
        return
    for each in known:
        comment = " ".join(each.text.split())
        say(f"{each.time}  {each.about:<7}{each.decision:<8} {each.author}: {comment}")
    say(_review_next(paths, about, pending))


def _review_next(paths: "RunPaths", about: str, pending: bool) -> str:
    """Where the reviewed file is, and the possible next steps."""
    from agent.loop.going_on import next_command
    from agent.record.printed import command
    from agent.results import review

    folder = paths.folder.parent
    if pending:
        look = paths.report if about == "report" else paths.plan
        approve, reject = (command("review", paths.id, flag, folder=folder) for flag in ("--approve", "--reject"))
        return f"the {about} waits for a review: read {look}, then {approve} or {reject}"
    if about == "report":
        return f"report: {paths.report}"
    if (found := review.decided(paths)) and found.decision == "reject":
        return f"rejected; amend it as a new run: {command('review', paths.id, '--edit', 'FIELD=VALUE', folder=folder)}"
    return f"continue with: {next_command(paths)}"


def _amend(paths: "RunPaths", arguments: Namespace, settings: "config.Settings") -> int:
    """A new run with a new plan that names the old one as its parent; the old run stays as it is."""
    from dataclasses import replace

    from agent.commands.options import own_options, refuse_early
    from agent.loop.session import Session
    from agent.record import runs
    from agent.results import review

    if arguments.decision or arguments.comment:
        raise UsageError(
            "--edit makes a new run, while --approve, --reject and --comment are about this one", "use one of them"
        )
    options, plan = own_options(paths, "amended"), review.planned(paths)
    edits = dict(arguments.edit)
    values = {name: value for name, value in options.values.items() if name not in edits} | edits
    kept = review.proposal(plan).model_dump(mode="json", exclude_none=True)
    options = replace(options, values=values, amends=plan.hash, proposal=kept, yes=False, plan_only=True)
    options = replace(options, replay="", paces={})  # an amended replay makes nothing again
    foreseen = refuse_early(options, settings)
    amended = runs.create(settings.runs, options.idea, options.to_json(), parent=paths.id)
    return Session(amended, options, settings, arguments.json, *foreseen).go()


COMMAND = Command("approve, reject or comment on a plan or report; amend a plan", arguments, run)
