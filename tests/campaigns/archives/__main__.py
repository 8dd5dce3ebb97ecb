"""Archives of a finished run, each with one value changed and every hash made to fit, imported and looked at.

    python -m tests.campaigns.archives RUN [--first N] [--count N]

RUN is the folder of a finished run. A value gets another type, goes, becomes huge, not finite or deep, or holds control
characters, marks of direction, markup of rich, HTML and Markdown. Then import, and on what was taken every command that
reads runs. Exits with 1 where one ends in a traceback, or where such a character reaches a terminal or a page raw.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from agent.recheck.archive import export
from agent.record.paths import RunPaths
from tests.campaigns.archives import commands
from tests.campaigns.archives.mutations import Content, archive, mutation, read


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(RunPaths(asked.run.absolute()), folder / "honest.tar.gz")
        run, content = read(folder / "honest.tar.gz")
        seen, taken = mutated(run, content, range(asked.first, asked.first + asked.count), folder)
    kinds = Counter(line.partition("] ")[2].partition(" (")[2] or line for line in seen.tracebacks)
    for line in (*seen.tracebacks, *(each for channel in seen.raw.values() for each in channel)):
        print(line)
    found = {"terminal": 0, "page": 0} | {channel: len(lines) for channel, lines in seen.raw.items()}
    counted = ", ".join(f"{number} raw in a {channel}" for channel, number in found.items())
    print(
        f"{asked.count} archives, {taken} taken, {seen.commands} commands: {len(seen.tracebacks)} tracebacks, {counted}"
    )
    print(f"{len(kinds)} different places")
    return int(bool(seen.tracebacks or seen.raw))


def mutated(run: str, content: Content, numbers: range, folder: Path) -> tuple[commands.Seen, int]:
    """What was seen, and how many archives import took."""
    seen, taken = commands.Seen(), 0
    for number in numbers:
        made, here = mutation(content, number), commands.Seen()
        taken += looked_at(here, run, made.content, folder / "here")
        seen.commands += here.commands
        seen.tracebacks += [f"[{number}: {made}] {line}" for line in here.tracebacks]
        for channel, lines in here.raw.items():
            seen.raw.setdefault(channel, []).extend(f"[{number}: {made}] {line}" for line in lines)
    return seen, taken


def looked_at(seen: commands.Seen, run: str, content: Content, folder: Path) -> bool:
    """Import of one archive, and every command on what it took; whether it took it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "runs").mkdir(parents=True)
    (folder / "cache").mkdir()
    (folder / "run.tar.gz").write_bytes(archive(run, content))
    taken = commands.called(seen, ("import", str(folder / "run.tar.gz")), folder / "runs") == 0
    if taken:
        commands.read(seen, folder / "runs")
    return taken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
