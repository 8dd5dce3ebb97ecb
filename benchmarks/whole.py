"""Whole runs: what a run costs beside its trainings alone, and what a second idea costs on the same task.

    python -m benchmarks.whole [--write]    some minutes on two idle cores; --write puts it into docs/benchmarks.md

Two runs of the command, from an empty cache, at the demo scale. Alone means: each training by itself, one after
another, in a process that has its imports behind it; one seed of each arm is trained so and counts for all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import described
from benchmarks.page import DOCS, put
from benchmarks.setting import ROOT
from sandbox.isolation.child_setup import MEMORY

IDEAS = ("efficient KD for small models", "decoupled knowledge distillation")
MOST = {"alone": 1.25, "second": 0.5}


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as place:
        first, second = (_run(Path(place), idea) for idea in IDEAS)
        lines = [*_ratios(first, second, _alone(Path(place), first[1])), "", *_phases(first, second)]
    text = "\n".join([*lines, "", described()])
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "whole", text)
    return 0


def _run(place: Path, idea: str) -> tuple[float, Path]:
    """Seconds of the command, and the run's folder."""
    environment = os.environ | {"KDAGENT_CACHE": str(place / "cache"), "KDAGENT_RUNS": str(place / "runs")}
    before = set(_folders(place))
    began = time.monotonic()
    command = [sys.executable, "-m", "agent.cli", "run", idea, "--yes"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    [folder] = set(_folders(place)) - before
    return seconds, folder


def _folders(place: Path) -> list[Path]:
    return [path.parent for path in (place / "runs").glob("*/run.json")]


def _alone(place: Path, run: Path) -> dict[str, tuple[float, int]]:
    """Seconds of one training of each arm on each track, and how many of them the run had."""
    jobs = {file: json.loads(file.read_text()) for file in sorted(run.glob("jobs/*/job-*.json"))}
    found: dict[str, tuple[float, int]] = {}
    for number, (file, job) in enumerate(jobs.items()):
        out = place / "alone" / str(number)
        out.mkdir(parents=True)
        if file.parent.name.startswith("teacher-"):
            _process("teacher", job | {"out": str(out)}, out)
            found[file.parent.name] = (json.loads((out / "teacher.json").read_text())["seconds"], 1)
        elif "units" in job and not file.parent.name.startswith(("pilot-", "predict-")):
            for unit in job["units"]:
                name, seeds = f"{unit['arm']} {Path(job['out']).name}", len(unit["seeds"])
                if name in found:
                    found[name] = (found[name][0], found[name][1] + seeds)
                    continue
                _process("trial", job | {"out": str(out), "units": [unit | {"seeds": unit["seeds"][:1]}]}, out)
                report = out / unit["arm"] / str(unit["seeds"][0]) / "trial.json"
                found[name] = (json.loads(report.read_text())["seconds"], seeds)
    return found


def _process(module: str, job: dict, out: Path) -> None:
    (out / "job.json").write_text(json.dumps(job))
    environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"]), "GOMP_SPINCOUNT": "10000"} | MEMORY
    command = [sys.executable, "-m", "baselines", module, str(out / "job.json")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ratios(first: tuple[float, Path], second: tuple[float, Path], alone: dict[str, tuple[float, int]]) -> list[str]:
    total = sum(seconds * count for seconds, count in alone.values())
    trainings = sum(count for _, count in alone.values())
    beside = {"alone": first[0] / total, "second": second[0] / first[0]}
    verdicts = {name: "reached" if found <= MOST[name] else "**not reached**" for name, found in beside.items()}
    return [
        f"- the demo run, {IDEAS[0]!r}, took {first[0]:.0f} s; its {trainings} trainings alone take {total:.0f} s: "
        f"{beside['alone']:.2f}, to be at most {MOST['alone']:.2f}: {verdicts['alone']}",
        f"- a second idea, {IDEAS[1]!r}, on the same tasks took {second[0]:.0f} s: {beside['second']:.2f} of the first "
        f"run, to be at most {MOST['second']:.2f}: {verdicts['second']}",
    ]


def _phases(first: tuple[float, Path], second: tuple[float, Path]) -> list[str]:
    """Where the time of both went."""
    phases = [json.loads((run / "clock.json").read_text())["phases"] for _, run in (first, second)]
    lines = ["| phase | first run, s | second run, s |", "|---|---|---|"]
    for name in dict.fromkeys([*phases[0], *phases[1]]):
        lines.append(f"| {name} | " + " | ".join(f"{each[name]:.1f}" if name in each else "" for each in phases) + " |")
    rest = [seconds - sum(each.values()) for (seconds, _), each in zip((first, second), phases, strict=True)]
    return [*lines, f"| everything else | {rest[0]:.1f} | {rest[1]:.1f} |"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
