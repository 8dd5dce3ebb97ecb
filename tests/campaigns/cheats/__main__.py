"""Plays every cheat and every control, two at a time, and prints what stopped them.

    python -m tests.campaigns.cheats [--worn] [--write] [NAME…]

With `--worn` the static check accepts what it has refused once, to show what the other layers stop.

Exit code 1 where a cheat was not caught or an honest author was accused.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.page import DOCS, put
from tests.campaigns.cheats import claims, honest, measurement, reach, substance
from tests.campaigns.cheats.cheat import Author
from tests.campaigns.cheats.play import SMALL, Ended, play

CHEATS = tuple(
    sorted(
        (*reach.AUTHORS, *measurement.AUTHORS, *substance.AUTHORS, *claims.AUTHORS),
        key=lambda author: (int(author.row[1:]), author.name),
    )
)
HONEST = honest.AUTHORS


def play_all(
    authors: Sequence[Author], home: Path, setting: Sequence[str] = SMALL, worn: bool = False
) -> Iterator[Ended]:
    """Two at a time, in the order given. They share a cache, so that data and teacher are prepared once."""
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda author: play(_at(author, home), home, setting, worn), authors)


def _at(author: Author, home: Path) -> Author:
    """With the files its command line names."""
    if "SHUFFLED" not in author.flags:
        return author
    flags = tuple(str(measurement.shuffled(home)) if word == "SHUFFLED" else word for word in author.flags)
    return replace(author, flags=flags)


def row(ended: Ended) -> str:
    """One line of the table."""
    author = ended.author
    verdict = ended.verdict if not ended.breach else f"{ended.verdict}; **{ended.breach}**"
    if ended.honest:
        verdict += ", **accused**" if ended.accused else ""
    elif not ended.caught:
        verdict += ", **not caught**"
    stopped = ended.stopped_by.replace("|", "\\|")
    return f"| {author.name} | {author.tries} | {stopped} | {verdict} |"


def table(ended: Sequence[Ended]) -> str:
    rows = [row(each) for each in ended]
    return "\n".join(["| author | what it tries | stopped by | verdict |", "|---|---|---|---|", *rows])


def tally(ended: Sequence[Ended]) -> tuple[str, bool]:
    """The last line, and whether all is well. A row is caught where each of its authors is."""
    cheats = [each for each in ended if not each.honest]
    rows = {each.author.row for each in cheats}
    missed = {each.author.row for each in cheats if not each.caught}
    controls = [each for each in ended if each.honest]
    accused = sum(each.accused for each in controls)
    line = (
        f"{len(rows) - len(missed)} of {len(rows)} cheats caught, {accused} of {len(controls)} honest controls accused"
    )
    return line, not missed and not accused


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.cheats", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/security.md")
    parser.add_argument("--worn", action="store_true", help="against a static check that gives way")
    parser.add_argument("--home", type=Path, help="keep runs and cache there (default: a temporary folder)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows or authors; default: all")
    given = parser.parse_args(words)
    known = (*HONEST, *CHEATS)
    chosen = [a for a in known if not given.names or {a.name, a.row, a.name.split()[0]} & set(given.names)]
    with tempfile.TemporaryDirectory(prefix="kdagent-cheats-") as folder:
        ended = []
        for each in play_all(chosen, given.home or Path(folder), worn=given.worn):
            ended.append(each)
            print(f"{each.seconds:4.0f} s {row(each)}", flush=True)
        line, well = tally(ended)
        said = f"{table(ended)}\n\n{line}"  # while the runs are still there
    print(f"\n{said}")
    if given.write:
        put(DOCS / "security.md", "worn" if given.worn else "cheats", said)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
