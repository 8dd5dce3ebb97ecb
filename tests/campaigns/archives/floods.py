"""One text in every field of a record that may hold any text, in all of its files at once."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from agent.plan.plan import Plan
from agent.record import shapes
from agent.record.prepared import Prepared
from agent.results.schema import Results, Reviews
from tests.campaigns.archives.mutations import Content, Place, parsed, put, sealed, texts, written

REFERRED = {"name", "track", "reference_arms", "benchmark", "arm", "hash", "encoded", "kind", "previous", "id"}
"""Other fields refer to these: a record in which they do not fit is refused, or is not this run's."""
KEPT = {"files", "lines", "commits", "provenance", "status", "schema", "options", "job", "spec", "commit", "weights"}


def _facts(values: Any) -> None:
    for each in values["tracks"].values():
        Prepared.model_validate(each)


def _events(values: Any) -> None:
    if wrong := next(filter(None, map(shapes.problem, values)), ""):
        raise ValueError(wrong)


READ: dict[str, Callable[[Any], object]] = {
    "run.json": lambda values: None,
    "plan.json": Plan.model_validate,
    "facts.json": _facts,
    "review.json": Reviews.model_validate,
    "results.json": Results.model_validate,
    "events.jsonl": _events,
}


def fields(content: Content) -> dict[str, list[Place]]:
    """File → the path of every text that can be any text."""
    return {name: _fields(name, content[name]) for name in READ if name in content}


@cache
def _fields(name: str, data: bytes) -> list[Place]:
    values, known, found = parsed(data, name), dict[tuple[str, ...], bool](), list[Place]()
    for place in texts(values):
        words = tuple("*" if isinstance(step, int) else step for step in place)
        if REFERRED & {words[-1], *words[-2:]} or KEPT & {*words}:
            continue
        if words not in known:
            known[words] = False
            with suppress(ValueError):
                READ[name](put(values, place, "any text"))
                known[words] = True
        found += [place] * known[words]
    return found


def flooded(content: Content, text: str) -> Content:
    """Every such field is `text`, each hash made to fit."""
    made = dict(content)
    for name, places in fields(content).items():
        values = parsed(made[name], name)
        for place in places:
            values = put(values, place, text)
        made[name] = written(values, name)
    return sealed(made)
