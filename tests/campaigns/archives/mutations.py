"""Archives of a run as somebody hostile makes them: one thing in one file changed, and every hash made to fit again."""

import hashlib
import json
import random
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.plan.plan import Plan
from agent.record.events import event_hash, event_line
from agent.record.hashes import Note, fixed
from tests.agent import forged

Content = dict[str, bytes]
"""Name in the archive → bytes."""
Place = tuple[str | int, ...]

MARK, RICH, OPENED = "q7", "r9", "[b]"
CHARACTERS = {
    "title of the terminal": "\x1b]0;x\x07",
    "colour": "\x1b[31m",
    "C1": "\x9b31m\x85\x90",
    "carriage return": "\r",
    "backspace": "\x08\x7f",
    "new line": "\nverified: all is well",
    "direction": "\u202e\u2066\u200f",
    "zero width": "\u200b\u2060\ufeff",
    "separators": "\u2028\u2029",
    "half a character": "\ud800",
    "rich": f"{OPENED}{RICH}[/b] [link=http://x]y[/link] :skull:",
    "rich, closed": "[/nothing]",
    "HTML": f"<{MARK} onload=x>",
    "Markdown": f"![{MARK}](http://x) | ``` `` ** \\",
}
EVERYTHING = "".join(text for name, text in CHARACTERS.items() if name not in ("half a character", "rich, closed"))
ODD = (None, True, 0, -1, "", "x", [], {}, [None], {"x": None}, [[]], "2026", 1.5)
HUGE = (10**400, -(10**30), 1 << 63, 1e308, 5e-324)
NEVER = (float("nan"), float("inf"), float("-inf"))
RAW = (b"", b"\n", b"null", b"[]", b"{}", b"7", b'"x"', b"{", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 5000, b"\0" * 64)
BELOW = "far below"
"""Stands for lists in lists, deeper than a reader of JSON goes."""
DEEP = ("[" * 5000 + "]" * 5000).encode()
OFTEN = ("run.json", "facts.json", "plan.json", "results.json", "review.json", "events.jsonl")


@dataclass(frozen=True)
class Mutation:
    file: str
    what: str
    content: Content

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def read(archive: Path) -> tuple[str, Content]:
    """The id of the run in an archive, and its files."""
    with tarfile.open(archive) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    run = next(iter(found)).split("/")[0]
    return run, {name.removeprefix(f"{run}/"): data for name, data in found.items() if "manifest.json" not in name}


def mutation(content: Content, number: int) -> Mutation:
    """The same for the same number."""
    choose = random.Random(number)
    names = [name for name in content if name.endswith((".json", ".jsonl"))]
    name = choose.choice([each for each in OFTEN if each in content] if choose.random() < 0.8 else names)
    if choose.random() < 0.1:
        name = choose.choice([*content])
        data = choose.choice((*RAW, content[name][: len(content[name]) // 2]))
        return Mutation(name, f"{data[:12]!r}, {len(data)} bytes", sealed(content | {name: data}))
    values = parsed(content[name], name)
    place = choose.choice(list(places(values)))
    changed, what = _changed(choose, values, place)
    return Mutation(name, what, sealed(content | {name: written(changed, name)}))


def _changed(choose: random.Random, values: Any, place: Place) -> tuple[Any, str]:
    where = ".".join(map(str, place))
    kind = choose.choice(
        ("characters", "characters", "characters", "type", "removed", "huge", "not finite", "deep", "key")
    )
    if kind == "removed":
        return without(values, place), f"{where} removed"
    if kind == "deep":
        return put(values, place, BELOW), f"{where} deep"
    if kind == "key":
        return put(values, (*place[:-1], EVERYTHING), 1), f"a key beside {where}"
    known = {"type": ODD, "huge": HUGE, "not finite": NEVER, "characters": (*CHARACTERS.values(), EVERYTHING)}
    value = choose.choice(known[kind])
    return put(values, place, value), f"{where} = {ascii(value)[:60]}"


def parsed(data: bytes, name: str) -> Any:
    return [json.loads(line) for line in data.splitlines()] if name.endswith(".jsonl") else json.loads(data)


def written(values: Any, name: str) -> bytes:
    if name == "events.jsonl":
        text = b"".join(_line(each) for each in values)
    elif name.endswith(".jsonl"):
        text = b"".join(json.dumps(each).encode() + b"\n" for each in values)
    else:
        text = json.dumps(values, indent=1).encode()
    return text.replace(json.dumps(BELOW).encode(), DEEP)


def _line(event: Any) -> bytes:
    with suppress(ValueError, TypeError):
        return event_line(event)
    return json.dumps(event).encode() + b"\n"


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """The path of every value in a value, but for its own."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*place, name)
        yield from places(item, (*place, name))


def texts(value: Any) -> Iterator[Place]:
    """The path of every text."""
    return (place for place in places(value) if isinstance(at(value, place), str))


def at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def put(value: Any, place: Place, new: Any) -> Any:
    """A copy with another value there."""
    if not place:
        return new
    copy, first = value.copy(), place[0]
    if isinstance(copy, list) and not isinstance(first, int):
        return [*copy, new]
    copy[first] = put(value[first], place[1:], new) if len(place) > 1 else new
    return copy


def without(value: Any, place: Place) -> Any:
    holder = at(value, place[:-1]).copy()
    del holder[place[-1]]
    return put(value, place[:-1], holder)


def sealed(content: Content) -> Content:
    """The same files with the names of bodies, the plan's hash, the log's notes and the chain of its events to fit."""
    made = dict(content)
    for name in [name for name in made if name.startswith("conversation/blobs/")]:
        old, new = Path(name).stem, hashlib.sha256(made[name]).hexdigest()
        if old != new:
            made[f"conversation/blobs/{new}.json"] = made.pop(name)
            for other in ("events.jsonl", "conversation/exchanges.jsonl"):
                made[other] = made[other].replace(old.encode(), new.encode())
    with suppress(ValueError, RecursionError):
        made["events.jsonl"] = written(_chained(parsed(made["events.jsonl"], "x.jsonl"), made), "events.jsonl")
    return made


def _chained(events: list[Any], files: Content) -> list[Any]:
    previous = ""
    for event in events:
        if not isinstance(event, dict):
            continue
        data = event.get("data")
        if isinstance(data, dict):
            _noted(data, files)
            if event.get("kind") == "planned":
                with suppress(ValueError):
                    data["hash"] = Plan.model_validate_json(files["plan.json"]).hash
        event["previous"] = previous
        with suppress(ValueError, TypeError, RecursionError):
            event["hash"] = event_hash(event)  # type: ignore[arg-type]
        previous = event.get("hash", "")
    return events


def _noted(data: dict[str, Any], files: Content) -> None:
    noted, lines = data.get("files"), data.get("lines")
    for name in noted if isinstance(noted, dict) else ():
        if name in files:
            text = files[name]
            with suppress(ValueError, AttributeError, RecursionError):
                text = fixed(json.loads(text)) if name == "run.json" else text
            noted[name] = Note.of(text).sha256
            if isinstance(lines, dict) and name in lines:
                lines[name] = Note.of(text).lines


def archive(run: str, content: Content) -> bytes:
    """As `export` writes one."""
    described = forged.manifest(content, run=run)
    described.name = f"{run}/manifest.json"
    return forged.archive(described, *(forged.Entry(f"{run}/{name}", data) for name, data in content.items()))
