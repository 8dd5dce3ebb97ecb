"""How far the demo's arms spread over twenty seeds, and whether one of them ever collapses.

    python -m tests.campaigns.spread [RUN …] [--write]    an hour where a machine has other work; --write puts the table
    into docs/spread.md. RUN: the folder of a finished run of the same command, or of each task, instead of a new one

A seed has collapsed where its accuracy lies more than 10 points, or more than 5 standard deviations of the arm's other
seeds, below the arm's median: such a seed decides a comparison by itself. Exits with 1 where one has.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

from benchmarks.machine import described
from benchmarks.page import DOCS, put

COMMAND = ("run", "efficient KD for small models", "--seeds", "20", "--budget", "3h", "--yes")
HEADER = "| task | arm | seeds | least | median | greatest | least below the median |\n|---|---|---|---|---|---|---|\n"
POINTS, DEVIATIONS = 10.0, 5.0


@dataclass(frozen=True)
class Arm:
    """Test accuracy by seed, in per cent."""

    task: str
    name: str
    accuracy: dict[int, float]

    @property
    def below(self) -> float:
        """Points between the median and the least."""
        return median(self.accuracy.values()) - min(self.accuracy.values())

    @property
    def deviations(self) -> float:
        """The same in standard deviations of the other seeds, which the least does not stretch."""
        return self.below / stdev(sorted(self.accuracy.values())[1:])

    @property
    def collapsed(self) -> bool:
        return self.below > POINTS or self.deviations > DEVIATIONS


def arms(results: Path) -> list[Arm]:
    """Every arm of a finished run, task by task."""
    return [
        Arm(track["name"], arm["name"], {each["seed"]: 100 * each["scores"]["accuracy"] for each in arm["trials"]})
        for track in json.loads(results.read_text())["tracks"]
        for arm in track["arms"]
    ]


def table(found: list[Arm]) -> str:
    """The spread of each arm, then its seeds one by one."""
    seeds = (f"- {arm.task}, {arm.name}: {', '.join(f'{each:.1f}' for each in _by_seed(arm))}" for arm in found)
    return "\n".join([HEADER + "".join(map(_row, found)), "Test accuracy in per cent, seed by seed:\n", *seeds])


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(word) for word in words if not word.startswith("-")] or [_run(Path(place))]
        found = [arm for folder in folders for arm in arms(folder / "results.json")]
    fallen = [f"{arm.name} on {arm.task}" for arm in found if arm.collapsed]
    said = f"**Collapsed: {', '.join(fallen) or 'none'}.**"
    text = f"{table(found)}\n\n{said} {described()}"
    print(text)
    if "--write" in words:
        put(DOCS / "spread.md", "spread", text)
    return int(bool(fallen))


def _run(place: Path) -> Path:
    command = [sys.executable, "-m", "agent.cli", *COMMAND, "--runs-dir", str(place)]
    subprocess.run(command, cwd=DOCS.parent, env=os.environ, check=True, stdout=subprocess.DEVNULL)
    [results] = place.glob("*/results.json")
    return results.parent


def _row(arm: Arm) -> str:
    values = arm.accuracy.values()
    spread = " | ".join(f"{each:.1f}" for each in (min(values), median(values), max(values)))
    below = f"{arm.below:.1f} points, {arm.deviations:.1f} standard deviations"
    mark = " **collapsed**" if arm.collapsed else ""
    return f"| {arm.task} | {arm.name} | {len(values)} | {spread} | {below}{mark} |\n"


def _by_seed(arm: Arm) -> list[float]:
    return [arm.accuracy[seed] for seed in sorted(arm.accuracy)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
