"""A run in random troubles: python -m tests.campaigns.troubles [--count N] [--only kills|sequences] [--seed N]

kills: one SIGKILL at a moment that is uniform in time, to the whole group, to kdagent alone or to one process, under
each isolation level, as root and as a user, over a warm and a cold cache. sequences: one to five of kill, stop,
`cache rm`, `gc`, a bit flipped in the cache before or under a process, a comment, export with import. Both: the run
goes on to its report with the weights of an undisturbed one, an unrelated run with the same cache works after it, and
`verify` finds nothing at any stop. --write puts the table into docs/replay.md.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

from benchmarks.page import put
from tests.campaigns.troubles.troubles import NOBODY, Circumstances, World, sequence, weights
from tests.sandbox.lab import problem

DOCS = Path(__file__).parents[3] / "docs" / "replay.md"


def circumstances() -> list[Circumstances]:
    """What this machine has. A user can run it only where the interpreter can be reached."""
    reached = all(folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents)
    users = (0, NOBODY)[: 1 + reached] if os.getuid() == 0 else (os.getuid(),)
    levels = [name for name in ("process", "landlock", "bwrap") if not problem(name)]
    return [Circumstances(*each) for each in product(levels, users, (False, True))]


def undisturbed(folder: Path, puppets: Path) -> dict[str, str]:
    """The weights of a run without troubles; it also makes the recordings, and a cache for the warm."""
    folder.mkdir()
    world = World(folder, puppets, Circumstances("process", 0, False), random.Random(0))
    world.finish()
    if world.complaints:
        raise SystemExit(f"an undisturbed run has complaints: {world.complaints}")
    return weights(world.paths)


def played(place: Path, first: Path, about: Circumstances, kind: str, seed: int) -> World:
    home = place / f"{kind}-{seed}"
    home.mkdir()
    if about.warm:
        shutil.copytree(first / "cache", home / "cache", ignore=shutil.ignore_patterns("trials", "runs"))
        for path in (home / "cache", *(home / "cache").rglob("*")):
            os.chown(path, about.user, about.user, follow_symlinks=False)
    world = World(home, place / "puppets", about, random.Random(seed))
    if kind == "kills":
        world.kill()
        world.finish()
    else:
        sequence(world)
    return world


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--only", choices=("kills", "sequences"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    asked, started = parser.parse_args(arguments), time.monotonic()
    counts, failed = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="kdagent-troubles-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "puppets").mkdir(mode=0o777)
        (place / "puppets").chmod(0o777)
        due = undisturbed(place / "first", place / "puppets")
        for kind in (asked.only,) if asked.only else ("kills", "sequences"):
            for number in range(asked.count):
                every = circumstances()
                about = every[5 * number % len(every)]  # so that a few are of all kinds
                world = played(place, place / "first", about, kind, asked.seed + number)
                found = weights(world.paths) if world.ended else due
                if other := [name for name, digest in due.items() if found.get(name) != digest]:
                    world.complain(f"other weights: {other[0]}")
                counts[f"{kind}, {about}"] += 1
                failed[f"{kind}, {about}"] += bool(world.complaints)
                well = f"ok  {kind} {number}: {about}: {', '.join(world.done)}"
                print("\n".join(world.complaints) or well, flush=True)
                shutil.rmtree(world.home, ignore_errors=True)
    table = "".join(f"| {name} | {count} | {failed[name]} |\n" for name, count in counts.items())
    text = f"| troubles | runs | with a complaint |\n|---|---|---|\n{table}\n"
    minutes = (time.monotonic() - started) / 60
    text += (
        f"{sum(counts.values())} runs, seeds from {asked.seed}, in {minutes:.0f} minutes on {os.cpu_count()} cores.\n"
    )
    print(text)
    if asked.write:
        put(DOCS, "troubles", text)
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
