"""The commands about the runs there are: list, name, compare, carry, delete. Looking imports nothing heavy."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import config
from agent.errors import UsageError
from agent.record import runs
from agent.record.files import file_hash
from sandbox.printable import printable

if TYPE_CHECKING:
    from agent.cache.inventory import Entry


def _runs(arguments: argparse.Namespace) -> Path:
    return Path(arguments.runs_dir).absolute() if arguments.runs_dir else config.Settings.read().runs


def list_runs(arguments: argparse.Namespace) -> int:
    known = [runs.listed(paths) for paths in runs.every(_runs(arguments))]
    found = [record for record in known if _wanted(record, arguments)]
    if arguments.json:
        print(json.dumps({"schema": 1, "runs": found}))
        return 0
    for record in found:
        print(_line(record))
    if not found:
        start = 'no runs yet; start one: kdagent run "efficient KD for small models" --yes'
        print(f"none of the {len(known)} runs is such a one" if known else start)
    return 0


def _wanted(record: dict[str, Any], arguments: argparse.Namespace) -> bool:
    """Whether a run passes every filter that was given."""
    tasks = record.get("tracks") or record["options"].get("tasks", ())
    return (
        arguments.status in (None, record["status"])
        and arguments.verdict in (None, record.get("verdict"))
        and arguments.task in (None, *tasks)
        and all(tag in record.get("tags", ()) for tag in arguments.tag)
        and record["created"] >= (arguments.since or "")
    )


def _line(record: dict[str, Any]) -> str:
    marks = [f"#{tag}" for tag in record.get("tags", ())] + ["(imported)"] * ("imported" in record)
    idea = str(record["options"].get("idea", ""))[:60]
    line = f"{record['id']}  {record['status']:<16}{record.get('verdict', ''):<14}{' '.join([idea, *marks])}"
    return line if line.isprintable() else printable(line)


def tag(arguments: argparse.Namespace) -> int:
    """Name a run, or take names from it."""
    paths = runs.find(_runs(arguments), arguments.run)
    with runs.locked(paths):
        had = runs.read(paths).get("tags", [])
        kept = [name for name in had if name not in arguments.tag]
        runs.update(paths, tags=kept if arguments.remove else list(dict.fromkeys([*had, *arguments.tag])))
    record = runs.read(paths)
    print(json.dumps({"schema": 1, "run": record}) if arguments.json else _line(record))
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Delete runs, after saying which."""
    folder = _runs(arguments)
    found = list(dict.fromkeys(runs.find(folder, name) for name in arguments.run))
    if not arguments.yes:
        print("\n".join(_line(runs.listed(paths)) for paths in found), file=sys.stderr)
        _confirm(f"remove {len(found)} of the runs in {folder}?", arguments.json)
    runs.remove(found)
    removed = [paths.id for paths in found]
    print(json.dumps({"schema": 1, "removed": removed}) if arguments.json else f"removed: {', '.join(removed)}")
    return 0


def _confirm(question: str, as_json: bool) -> None:
    """Raises UsageError unless the person in front of the terminal says yes."""
    answer = ""
    if not as_json and sys.stdin and sys.stdin.isatty():
        with suppress(EOFError):
            answer = input(f"{question} [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was removed", "--yes removes without asking")


def collect(arguments: argparse.Namespace) -> int:
    """Say what nothing needs any more; delete it with --yes."""
    from agent.cache import unused

    found = unused.waste(_runs(arguments), config.Settings.read().cache)
    freed = [each for each in found.items if arguments.yes and unused.free(each)]
    said = freed if arguments.yes else found.items
    if arguments.json:
        items = [{"path": str(each.path), "bytes": each.size, "why": each.why} for each in said]
        print(json.dumps({"schema": 1, "freed": arguments.yes, "items": items, "kept": found.kept}))
        return 0
    for each in said:
        print(printable(f"{each.size / 1e6:10.1f} MB  {each.path}  ({each.why})"))
    for reason in found.kept:
        print(f"left alone: {reason}")
    total = f"{sum(each.size for each in said) / 1e6:.1f} MB"
    print(f"freed: {total}" if arguments.yes else f"would free: {total}; kdagent gc --yes does it")
    return 0


def look_into_cache(arguments: argparse.Namespace) -> int:
    """What lies in the cache."""
    from agent.cache import inventory

    folder = config.Settings.read().cache
    found = inventory.inventory(folder, _runs(arguments))
    total = sum(each.bytes for each in found)
    if arguments.json:
        known = {"cache": str(folder), "bytes": total, "entries": [each.to_json() for each in found]}
        print(json.dumps({"schema": 1} | known))
        return 0
    for each in found:
        print(_cached(each))
    size = f"{total / 1e6:.1f} MB"
    print(f"{len(found)} in {folder}, {size}; `kdagent cache rm KEY` removes, and a run makes again what it needs")
    return 0


def remove_from_cache(arguments: argparse.Namespace) -> int:
    """Delete what was named from the cache, after saying what."""
    from agent.cache import inventory

    folder = config.Settings.read().cache
    found = inventory.inventory(folder, _runs(arguments))
    if arguments.key:
        found = inventory.named(found, arguments.key, folder)
    elif arguments.older is not None:
        found = inventory.idle(found, arguments.older)
    if found and not arguments.yes:
        print("\n".join(map(_cached, found)), file=sys.stderr)
        _confirm(f"remove {len(found)} from the cache {folder}?", arguments.json)
    removed = inventory.free(found)
    freed = sum(each.bytes for each in removed)
    if arguments.json:
        print(json.dumps({"schema": 1, "bytes": freed, "removed": [each.to_json() for each in removed]}))
        return 0
    for each in removed:
        print(f"removed: {_cached(each)}")
    print(f"freed: {freed / 1e6:.1f} MB ({freed} bytes)")
    return 0


def _cached(entry: "Entry") -> str:
    needed = f"; named by {', '.join(entry.runs[:2])}" if entry.runs else ""
    more = f" and {len(entry.runs) - 2} more" if len(entry.runs) > 2 else ""
    start = f"{entry.kind:<8}{entry.key[:12]:<13}{entry.bytes / 1e6:9.1f} MB  {entry.used[:16].replace('T', ' ')}"
    return printable(f"{start}  {entry.about}{needed}{more}")


def export(arguments: argparse.Namespace) -> int:
    """A run as one file."""
    from agent.recheck import archive

    paths = runs.find(_runs(arguments), arguments.run)
    target = Path(arguments.file or f"{paths.id}.tar.gz").absolute()
    with runs.still(paths):
        archive.export(paths, target, weights=arguments.weights, data=arguments.data)
    said = {"schema": 1, "run": paths.id, "file": str(target), "bytes": target.stat().st_size}
    print(json.dumps(said | {"sha256": file_hash(target)}) if arguments.json else target)
    return 0


def import_run(arguments: argparse.Namespace) -> int:
    """A run from somebody's file."""
    from agent.recheck import archive

    folder = _runs(arguments)
    runs.check_folder(folder, "--runs-dir")
    folder.mkdir(parents=True, exist_ok=True)
    paths = archive.unpack(Path(arguments.file), folder)
    if arguments.json:
        print(json.dumps({"schema": 1, "run": runs.read(paths)}))
    else:
        print(
            f"imported {paths.id}; nothing of it was run, and nothing of it was checked yet: kdagent verify {paths.id}"
        )
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """What differs between two runs."""
    from agent.recheck import diff

    folder = _runs(arguments)
    found = diff.between(runs.find(folder, arguments.first), runs.find(folder, arguments.second))
    print(json.dumps(found.to_json()) if arguments.json else "\n".join(map(printable, found.lines())))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "runs": list_runs,
    "diff": diff,
    "export": export,
    "import": import_run,
    "tag": tag,
    "rm": remove,
    "gc": collect,
    "cache": lambda arguments: (look_into_cache if arguments.action == "ls" else remove_from_cache)(arguments),
}
