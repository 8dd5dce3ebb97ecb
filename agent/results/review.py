"""Reviews: people's decisions and comments on a plan before it trained, and on a report afterwards.

    events.jsonl    one `reviewed` event each, with the hashes of the files that it changed
    review.json     the same reviews in one file
    report.md       shows them

The event comes first; both files follow from the log. A sealed run can still be reviewed.
"""

import getpass
import subprocess
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from agent.errors import DataError, UsageError
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.read import plan_of
from agent.record import hashes
from agent.record.events import EventLog, now
from agent.record.files import file_hash, write_whole
from agent.record.paths import RunPaths
from agent.record.printed import command
from agent.results.read import results_of
from agent.results.report import render_report
from agent.results.schema import LONGEST, About, Decision, Review, Reviews


def read(paths: RunPaths) -> tuple[Review, ...]:
    """Every review, in order."""
    said = (event["data"] for event in EventLog(paths.events).read() if event["kind"] == "reviewed")
    try:
        return tuple(Review(**{name: data[name] for name in Review.model_fields}) for data in said)
    except ValidationError as error:
        problem = f"{paths.events} has a review that cannot be read: {error.errors()[0]['msg']}"
        raise DataError(problem, "restore the file") from error


def add(paths: RunPaths, decision: Decision, text: str, author: str) -> Review:
    """Records a review; the caller has locked the run.

    Raises UsageError where there is nothing to review, and where the plan was decided before.
    """
    about, subject = under_review(paths)
    if about == "plan" and decision != "comment" and (earlier := decided(paths)):
        problem = f"the plan of {paths.id} was decided by {earlier.author}: {earlier.decision}"
        amend = command("review", paths.id, "--edit", "FIELD=VALUE", folder=paths.folder.parent)
        raise UsageError(problem, f"a decision stands; amend the plan as a new run: {amend}")
    if len(text) > LONGEST:
        raise UsageError(f"the comment has {len(text):,} characters, {LONGEST:,} are the most", "shorten it")
    said = {"text": _encodable(text), "author": _encodable(author)[:200]}
    review = Review(about=about, subject=subject, decision=decision, time=now(), **said)
    texts = _texts(paths, (*read(paths), review))
    notes = hashes.notes(paths, (), {path.name: content for path, content in texts.items()})
    EventLog(paths.events).append("reviewed", **review.model_dump(), **notes)
    write(paths)
    return review


def _encodable(text: str) -> str:
    """Bytes on a command line need not be UTF-8; a record is."""
    return text.encode(errors="replace").decode()


def write(paths: RunPaths) -> None:
    """The files that follow from the reviews on record: review.json, and the report where there is one.

    One that is as it should be is left alone, so that a folder that cannot be written does not matter.
    """
    for path, content in _texts(paths, read(paths)).items():
        if not path.exists() or path.read_bytes() != content.encode():
            write_whole(path, content)


def _texts(paths: RunPaths, reviews: tuple[Review, ...]) -> dict[Path, str]:
    texts = (
        {paths.review: Reviews(schema=1, reviews=reviews).model_dump_json(by_alias=True, indent=1)} if reviews else {}
    )
    results = results_of(paths)
    return texts | ({paths.report: render_report(results, reviews)} if results else {})


def under_review(paths: RunPaths) -> tuple[About, str]:
    """The subject of a review now, and its hash: the report once there are results, the plan before."""
    if paths.results.exists():
        return "report", file_hash(paths.results)
    return "plan", planned(paths).hash


def decided(paths: RunPaths) -> Review | None:
    """The last approval or rejection of what is under review now; None while it is pending."""
    subject = under_review(paths)
    found = [each for each in read(paths) if (each.about, each.subject) == subject and each.decision != "comment"]
    return found[-1] if found else None


def planned(paths: RunPaths) -> Plan:
    """The run's plan. Raises UsageError where it has none yet."""
    plan = plan_of(paths)
    if not plan:
        raise UsageError(f"run {paths.id} has no plan yet", "a run can be reviewed once it is planned")
    return plan


def proposal(plan: Plan) -> Proposal:
    """A model's proposals for a plan, so that an amendment keeps them and nobody is asked again."""
    prose = plan.model_dump(include={"title", "objective", "hypothesis", "methodology"})
    said = {}
    for track in plan.tracks:
        for part in ("training", "method"):
            for field, value in getattr(track, part).model_dump().items():
                if plan.provenance.get(f"tracks.{track.name}.{part}.{field}") == "model":
                    said["method" if field == "name" else field] = value
    return Proposal.model_validate({"method": plan.tracks[0].method.name} | prose | said)


def author() -> str:
    """The reviewer: git's user.name, else the login name."""
    name = ""
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["git", "config", "user.name"], capture_output=True, timeout=10)
        name = asked.stdout.decode(errors="replace").strip()
    with suppress(OSError, KeyError):
        name = name or getpass.getuser()
    return name or "unknown"
