"""The contents of the cache, in words: looked at and not checked, without heavy imports."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.cache import entries, unused
from agent.errors import UsageError
from agent.record import runs
from agent.record.printed import command
from sandbox.folder import measure

KINDS = {"data": "data", "teachers": "teacher", "trials": "trial", "paces": "pace", "arrow": "source"}
"""Folder of the cache → kind of its entries."""
DAY = 86400.0  # seconds
SPOILT = (AttributeError, KeyError, IndexError, TypeError, ValueError)
"""Errors that a damaged file raises."""


@dataclass(frozen=True)
class Entry:
    kind: str
    key: str
    path: Path
    bytes: int
    """On the disk."""
    used: str
    """When a run last used it; of a source, when it was written."""
    about: str
    runs: tuple[str, ...]
    """Those whose record names it."""

    @property
    def locks(self) -> tuple[Path, ...]:
        """The file that is locked while the entry is filled or read."""
        if self.kind == "source":  # the locks are those of the library that fills it
            return tuple(self.path.parents[1].glob(f"*_{self.key}_*.lock"))
        return entries.lock(self.path), self.path

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class _Run:
    """What can describe an entry."""

    id: str
    keys: frozenset[str]
    tracks: dict[str, Any]
    """Name → its results in results.json."""


def inventory(folder: Path, runs_folder: Path) -> list[Entry]:
    """Every entry of the cache in `folder`, with the runs that name it, in whichever folder they are.

    Raises UsageError where there is none.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no cache at {folder}", "the first run makes it; KDAGENT_CACHE names another folder")
    folders = dict.fromkeys((runs_folder.resolve(), *(each.resolve() for each in unused.users(folder))))
    known, found = [run for each in folders for run in _runs(each)], list[Entry]()
    for name, kind in KINDS.items():
        for path in _sources(folder / name) if kind == "source" else unused.inside(folder / name):
            with suppress(FileNotFoundError):  # removed at this moment
                found.append(_entry(kind, path, known))
    return found


def named(found: Sequence[Entry], names: Sequence[str], folder: Path) -> list[Entry]:
    """The entries of those keys, or of unique beginnings of them. Raises UsageError."""
    return list(dict.fromkeys(_named(found, name, folder) for name in names))


def idle(found: Sequence[Entry], days: float) -> list[Entry]:
    """Those that no run has used for so long."""
    now = datetime.now(UTC)
    return [each for each in found if (now - datetime.fromisoformat(each.used)).total_seconds() >= days * DAY]


def free(several: Sequence[Entry]) -> list[Entry]:
    """Removes them; none where a run uses one, which raises UsageError. Those that are gone now."""
    for each in several:
        with entries.unused(*each.locks) as ours:
            if not ours:
                problem = f"{each.kind} {each.path} is in use by a run, so nothing was removed"
                raise UsageError(problem, "wait for the run, or stop it first")
    return [each for each in several if entries.free(each.path, *each.locks)]


def _named(found: Sequence[Entry], name: str, folder: Path) -> Entry:
    matches = [each for each in found if name and each.key.startswith(name)]
    matches = [each for each in matches if each.key == name] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(each.key for each in matches[:3])
        raise UsageError(
            f"key {name!r:.80} is ambiguous: {len(matches)} begin with it ({some})", "give more of the key"
        )
    raise UsageError(f"no key {name!r:.80} in the cache {folder}", f"`{command('cache', 'ls')}` lists them")


def _runs(folder: Path) -> Iterator[_Run]:
    for paths in runs.every(folder):
        with suppress(OSError):
            tracks = entries.read(paths.results).get("tracks")
            tracks = tracks if isinstance(tracks, list) else []
            yield _Run(
                paths.id,
                frozenset(unused.keys(paths)),
                {track["name"]: track for track in tracks if isinstance(track, dict) and "name" in track},
            )


def _sources(folder: Path) -> list[Path]:
    """Data sets as they were read from files; an earlier kdagent kept the embedded task's texts beside them."""
    return [
        *sorted(folder.glob("*.json")),
        *(each for format in unused.inside(folder) for each in unused.inside(format)),
    ]


def _entry(kind: str, path: Path, known: Sequence[_Run]) -> Entry:
    key, size = path.stem if kind == "source" else path.name, 0
    used = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    needed = tuple(run for run in known if key in run.keys)
    try:
        size = measure(path).disk if path.is_dir() else path.stat().st_blocks * 512
        about = WORDS[kind](path, known if kind == "trial" else needed)
    except OSError as error:
        about = f"cannot be read: {error.filename or path}: {error.strerror}"
    except SPOILT:
        about = f"damaged: {path} does not describe its contents"
    return Entry(kind, key, path, size, used, about, tuple(run.id for run in needed))


def _data(path: Path, known: Sequence[_Run]) -> str:
    """Raises the errors of a missing or damaged file, as those after it do."""
    if path.suffix:
        return "unfinished"
    facts = json.loads((path / "facts.json").read_bytes())
    counts = ", ".join(f"{count:,} {split}" for split, count in facts["rows"].items() if count)
    return f"{entries.about(path).get('track') or facts['source']}: {counts} rows"


def _teacher(path: Path, known: Sequence[_Run]) -> str:
    said = entries.about(path)
    if not said:
        return "unfinished, or of an earlier kdagent"
    who = "teacher_scores" if said["arm"] == "teacher" else said["arm"]
    accuracy = _accuracy(known, str(said["track"]), lambda track: track[str(who)].get("scores", track[str(who)]))
    model = f"{said['class']} of {said['parameters']:,} parameters"
    return f"{said['track']}: {said['arm']}, {model}, and its answers to {said['rows']:,} rows{accuracy}"


def _trial(path: Path, known: Sequence[_Run]) -> str:
    if path.suffix:
        return "unfinished"
    origin, report = (json.loads((path / name).read_bytes()) for name in ("origin.json", "trial.json"))
    run, track, arm, seed = origin["run"], origin.get("track", ""), report["arm"], report["seed"]

    def scores(said: dict[str, Any]) -> Any:
        trials = next(each for each in said["arms"] if each["name"] == arm)["trials"]
        return next(each for each in trials if each["seed"] == seed)["scores"]

    accuracy = _accuracy([each for each in known if each.id == run], track, scores)
    return f"{track}{': ' * bool(track)}{arm}, seed {seed}, of run {run}{accuracy}"


def _pace(path: Path, known: Sequence[_Run]) -> str:
    said = entries.about(path)
    return f"{said['track']}: time of a step of its student, plain and compiled" if said else "unfinished"


def _source(path: Path, known: Sequence[_Run]) -> str:
    if path.is_file():
        return "texts of the embedded task as an earlier kdagent kept them; not used any more"
    for file in sorted(path.rglob("dataset_info.json")):
        said = json.loads(file.read_bytes())
        rows = sum(split["num_examples"] for split in said["splits"].values())
        return f"{rows:,} rows of {path.parent.name} files: {', '.join(said['features'])}"
    return "unfinished"


def _accuracy(known: Sequence[_Run], track: str, scores: Callable[[dict[str, Any]], Any]) -> str:
    """On the test rows, where a run that is there has measured it."""
    for run in known:
        with suppress(*SPOILT, StopIteration):
            return f", accuracy {scores(run.tracks[track])['accuracy']:.3f}"
    return ""


WORDS = {"data": _data, "teacher": _teacher, "trial": _trial, "pace": _pace, "source": _source}
