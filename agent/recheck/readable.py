"""Whether every command can read an imported record: each file is read here as the commands will read it.

What a record claims is for verify to check; here only that no file of it makes a command break.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agent.errors import DataError
from agent.llm.conversation import Conversation, Reply
from agent.plan.defaults import check_idea
from agent.plan.options import Options
from agent.plan.read import plan_of
from agent.plan.table import plan_table
from agent.record import hashes, runs, shapes
from agent.record.events import EventLog
from agent.record.files import first_problem, parsed
from agent.record.paths import RunPaths, step
from agent.record.prepared import read_facts
from agent.results import review
from agent.results.read import results_of
from agent.results.report import render_report
from agent.results.schema import Attempt, Reviews
from agent.results.table import scores_tables
from agent.terminal import screen
from sandbox.errors import KdagentError

SPLITS = ("train", "transfer", "dev", "test")
DEEPEST = 100
"""Lists in lists and objects in objects of a file that a run wrote."""


class Body(BaseModel):
    """The body of a request."""

    class Said(BaseModel):
        role: str
        content: str

    model_config = ConfigDict(strict=True)

    purpose: str
    model: str
    messages: list[Said]


def check(paths: RunPaths, run: str) -> None:
    """Raises DataError that names the first file which a command could not read."""
    with _reading(paths, "run.json"):
        _run(paths, run)
    for name, read in READERS.items():
        with _reading(paths, name):
            read(paths)
    for path in sorted(paths.folder.rglob("*.json")):
        with _reading(paths, path.relative_to(paths.folder).as_posix()):
            _object(path)


@contextmanager
def _reading(paths: RunPaths, name: str) -> Iterator[None]:
    """An error of any kind is a refusal: the file is somebody else's."""
    try:
        yield
    except KdagentError as error:
        raise DataError(f"its {name} cannot be used: {_inside(paths, error.message)}", error.hint) from error
    except ValidationError as error:
        raise DataError(f"its {name} cannot be used: {first_problem(error)}") from error
    except Exception as error:
        problem = f"{type(error).__name__}: {_inside(paths, str(error))}"
        raise DataError(f"its {name} cannot be used: {problem:.300}") from error


def _inside(paths: RunPaths, message: str) -> str:
    """Without the folder, whose name nobody has seen."""
    return message.replace(f"{paths.folder}/", "")


def _run(paths: RunPaths, run: str) -> None:
    record = runs.read(paths)
    options = Options.from_json(record["options"])
    _finite(record)
    same = check_idea(options.idea) == options.idea and record["id"] == run
    if not same or record["status"] not in get_args(runs.RunStatus):
        raise DataError("its run.json is not that of this run")
    TypeAdapter(Options).validate_python(asdict(options))
    options.command.encode()


def _log(paths: RunPaths) -> None:
    events = EventLog(paths.events).read()
    for number, event in enumerate(events, 1):
        if wrong := shapes.problem(event):
            raise DataError(f"line {number}: {wrong}")
    hashes.noted(events), hashes.closing(events), review.read(paths)
    for event in events:
        if event["kind"] == "decided":
            Attempt(**{name: event["data"][name] for name in Attempt.decided_fields()})


def _plan(paths: RunPaths) -> None:
    """As it is shown, with the facts that belong to it."""
    shown = screen(file=StringIO())
    if plan := plan_of(paths):
        plan.canonical().encode()
        for track in plan.tracks:
            step(track.name)
        if paths.facts.exists():
            plan_table(shown, plan, read_facts(paths))


def _results(paths: RunPaths) -> None:
    shown = screen(file=StringIO())
    if results := results_of(paths):
        render_report(results, review.read(paths)).encode()
        for table in scores_tables(results):
            shown.print(table)


def _conversation(paths: RunPaths) -> None:
    talk = Conversation(paths.conversation)
    for exchange in talk.exchanges:
        Body.model_validate(talk.body(exchange.request))
        if exchange.reply:
            reply = TypeAdapter(Reply).validate_json(json.dumps(talk.body(exchange.reply)), strict=True)
            reply.text.encode()


def _facts(paths: RunPaths) -> None:
    if paths.facts.exists():
        facts = read_facts(paths)
        facts.text().encode()
        for track, known in facts.tracks.items():
            step(track)
            if missing := {*SPLITS} - known.rows.keys() or {"teacher", "student"} - known.models.keys():
                raise DataError(f"tracks.{track} lacks {' and '.join(sorted(missing))}")


def _reviews(paths: RunPaths) -> None:
    parsed(paths.review, Reviews)


def _idea(paths: RunPaths) -> None:
    for path in (paths.idea, paths.report, paths.packages):
        if path.exists():
            path.read_text(encoding="utf-8")


READERS: dict[str, Callable[[RunPaths], None]] = {
    "events.jsonl": _log,
    "facts.json": _facts,
    "plan.json": _plan,
    "review.json": _reviews,
    "results.json": _results,
    "conversation": _conversation,
    "idea.md": _idea,
}


def _object(path: Path) -> None:
    """Every JSON file of a record is an object, whose texts can be written, and no deeper than a run writes one."""
    found = json.loads(path.read_bytes())
    json.dumps(found, ensure_ascii=False).encode()
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object")
    if _depth(found) > DEEPEST:
        raise DataError(f"{path} is nested more than {DEEPEST} deep")


def _depth(value: Any) -> int:  # any: JSON
    """As far as it matters."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        depth += 1
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [item for each in inner for item in (each.values() if isinstance(each, dict) else each)]
    return depth


def _finite(value: Any) -> None:  # any: JSON
    """Raises DataError for a number that JSON does not have: what is read here is printed as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"it has the number {value}")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(each)
