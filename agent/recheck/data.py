"""The user's data that a replay trains on: recognised by content, wherever they are, whatever they are called now."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agent.errors import NoReplay, UsageError
from agent.plan.options import Options
from agent.plan.plan import Plan, Track
from agent.plan.read import plan_of
from agent.record import runs
from agent.record.paths import RunPaths
from agent.record.printed import command

FOLDERS = ("folder: ", "image folder: ")
"""How the source of rows that came from the user's disk begins; the hash of their content ends it."""


def with_data(original: RunPaths, options: Options) -> Options:
    """The options of a replay, with the name that the user's own data have in the record.

    Raises NoReplay where data that it would train on are not named or not there, UsageError where data are named for a
    run that has none of its own.
    """
    own = Options.from_json(runs.read(original)["options"]).own
    if options.data and not own:
        raise UsageError(f"run {original.id} has no data of its own, as --data names", "leave --data out")
    recorded = plan_of(original)
    if own and recorded:
        track = _only(recorded)
        options = replace(options, own_name=track.name, own_kind=track.task.kind)
    if recorded and options.replay in ("full", "live"):
        for track in _from_disk(recorded):
            _find(original, track, options)
    return options


def _only(plan: Plan) -> Track:
    """The track of the user's own data. Raises NoReplay for a name that none has: it becomes part of our paths."""
    names = [track.name for track in plan.tracks]
    if len(names) != 1 or not re.fullmatch(r"\w{1,40}", names[0]):
        problem = f"a run on data of one's own has one track with a plain name, this plan has {', '.join(names)!r:.200}"
        raise NoReplay(problem, "restore the run's folder, or import it again")
    return plan.tracks[0]


def same_data(original: RunPaths, plan: Plan, options: Options) -> None:
    """Raises NoReplay where what was found under the names given is not what the run learnt from."""
    recorded = plan_of(original)
    for track in _from_disk(recorded) if recorded else ():
        found = next((each.task.source for each in plan.tracks if each.name == track.name), track.task.source)
        if found != track.task.source:
            raise _missing(original, track, f"found {found}", options)


def _from_disk(plan: Plan) -> Iterator[Track]:
    return (track for track in plan.tracks if track.task.source.startswith(FOLDERS))


def _find(original: RunPaths, track: Track, options: Options) -> None:
    place = options.data if options.own else options.data_dir
    if not place:
        raise _missing(original, track, "where they are is not known here", options)
    if not Path(place).exists():
        raise _missing(original, track, f"{place} does not exist", options)


def _missing(original: RunPaths, track: Track, why: str, options: Options) -> NoReplay:
    words = ["replay", original.id, "--level", options.replay, "--data" if options.own else "--data-dir", "PATH"]
    consent = ["--yes"] * ("imported" in runs.read(original))
    again = command(*words, *consent, folder=original.folder.parent)
    problem = f"the data of {track.name} are missing: the run learnt from {track.task.source}; {why}"
    return NoReplay(problem, f"name the same data, whatever they are called now: {again}")
