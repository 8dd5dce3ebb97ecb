"""Every method on a real task, from one sentence, as recorded runs; and published orderings, held against them.

    python -m tests.campaigns.recorded --data-dir DIR [--home DIR] [--write] [NAME …]    an hour and more, on two cores

Runs are kept in HOME (default: runs/recorded) and not made again. `--write` keeps their records as examples, puts the
reports into docs/examples/ and the tables into docs/methods.md. Exits with 1 where an idea found another method than
its own, or a run did not succeed.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from agent.record.paths import RunPaths
from benchmarks.page import DOCS, put
from tests.campaigns.examples.__main__ import keep, write

BOOK: dict[str, Any] = tomllib.loads((Path(__file__).parent / "runs.toml").read_text(encoding="utf-8"))
SEEDS = "3"


@dataclass(frozen=True)
class Recorded:
    """A finished run: its folder and what its results.json says."""

    folder: Path
    results: dict[str, Any]

    @property
    def track(self) -> dict[str, Any]:
        track: dict[str, Any] = self.results["tracks"][0]
        return track

    @property
    def method(self) -> str:
        return str(self.results["plan"]["tracks"][0]["method"]["name"])

    def accuracies(self, arm: str) -> dict[int, float]:
        """Per seed; the one teacher's under every seed."""
        if arm == "teacher":
            return dict.fromkeys(self.accuracies("student_only"), self.track["teacher_scores"]["accuracy"])
        trials = next(each["trials"] for each in self.track["arms"] if each["name"] == arm)
        return {trial["seed"]: trial["scores"]["accuracy"] for trial in trials}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path("runs/recorded"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    entries = [entry for entry in BOOK["run"] if not asked.names or entry["name"] in asked.names]
    runs = {entry["name"]: run for entry in entries if (run := made(entry, asked.home, asked.data_dir))}
    strays = [
        entry["name"] for entry in entries if runs.get(entry["name"]) and runs[entry["name"]].method != _method(entry)
    ]
    tables = {"recorded": _recorded(entries, runs), "orderings": _orderings(runs)}
    print("\n\n".join(tables.values()))
    if asked.write:
        for entry in (entry for entry in entries if _is_example(entry) and entry["name"] in runs):
            keep(entry["name"], RunPaths(runs[entry["name"]].folder))
        write()
        for mark, text in tables.items():
            put(DOCS / "methods.md", mark, text)
    print(*(f"{name}: the idea found {runs[name].method}" for name in strays), sep="\n", file=sys.stderr)
    return int(bool(strays) or len(runs) < len(entries))


def _method(entry: dict[str, Any]) -> str:
    return str(entry.get("method", entry["name"]))


def _is_example(entry: dict[str, Any]) -> bool:
    return "method" not in entry


# ── making ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def made(entry: dict[str, Any], home: Path, data: Path) -> Recorded | None:
    """The run of that name, which is made if there is none; None where it does not succeed."""
    if not (found := _found(entry["name"], home)):
        own = [word for setting in entry.get("set", []) for word in ("--set", setting)]
        words = [entry["idea"], "--task", entry["task"], *BOOK["settings"][entry["task"]], *own, "--seeds", SEEDS]
        _kdagent("run", *words, "--data-dir", str(data), "--tag", entry["name"], "--yes", home=home)
        found = _found(entry["name"], home)
    return found


def _found(name: str, home: Path) -> Recorded | None:
    listed = json.loads(_kdagent("runs", "--tag", name, "--status", "succeeded", "--json", home=home))["runs"]
    if not listed:
        return None
    folder = home / listed[-1]["id"]
    return Recorded(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))


def _kdagent(*words: str, home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "agent", *words, "--runs-dir", str(home)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _recorded(entries: list[dict[str, Any]], runs: dict[str, Recorded]) -> str:
    head = (
        "| idea | method | task | rows with + without label | teacher | student | proposed | difference | verdict |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    lines = [_line(entry, runs[entry["name"]]) for entry in entries if entry["name"] in runs]
    minutes = sum(sum(run.results["seconds"].values()) for run in runs.values()) / 60
    said = f"Test accuracy in percent, {SEEDS} seeds (mean ± standard deviation); {minutes:.0f} minutes in all on"
    return "\n".join([head, *lines, "", f"{said} {len(os.sched_getaffinity(0))} cores, other work beside it."])


def _line(entry: dict[str, Any], run: Recorded) -> str:
    task = run.results["plan"]["tracks"][0]["task"]
    against = run.track["comparisons"][0]
    low, high = 100 * against["low"], 100 * against["high"]
    cells = [
        f"“{entry['idea']}”" + "".join(f", {setting}" for setting in entry.get("set", []) if "rows" not in setting),
        f"[{run.method}](examples/{entry['name']}.md)" if _is_example(entry) else run.method,
        task["name"],
        f"{task['train_rows']:,} + {task['transfer_rows']:,}",
        f"{100 * run.track['teacher_scores']['accuracy']:.1f}" if run.track["teacher_scores"] else "none",
        _spread(run.accuracies("student_only")),
        _spread(run.accuracies("proposed")),
        f"{100 * against['difference']:+.1f} [{low:.1f}, {high:.1f}] to {against['benchmark']}",
        run.results["verdict"],
    ]
    return f"| {' | '.join(cells)} |"


def _spread(scores: dict[int, float]) -> str:
    return f"{100 * mean(scores.values()):.1f} ± {100 * stdev(scores.values()):.1f}"


def _orderings(runs: dict[str, Recorded]) -> str:
    head = "| published, best first | here | reproduced |\n|---|---|---|"
    return "\n".join([head, *_ordering_lines(runs)])


def _ordering_lines(runs: dict[str, Recorded]) -> Iterator[str]:
    for ordering in BOOK["ordering"]:
        places = [place.split("/") for place in ordering["order"]]
        if missing := dict.fromkeys(run for run, _ in places if run not in runs):
            yield f"| {ordering['source']} | {', '.join(missing)} not run | not checked |"
            continue
        scores = [_quantity(runs[run], arm, ordering["quantity"]) for run, arm in places]
        said = ", ".join(f"{'/'.join(place)} {_spread(each)}" for place, each in zip(places, scores, strict=True))
        yield f"| {ordering['source']} | {ordering['quantity']}: {said} | {reproduced(scores)} |"


def _quantity(run: Recorded, arm: str, quantity: str) -> dict[int, float]:
    own, alone = run.accuracies(arm), run.accuracies("student_only")
    return own if quantity == "accuracy" else {seed: own[seed] - alone[seed] for seed in own}


def reproduced(scores: list[dict[int, float]]) -> str:
    """Whether `scores`, per seed and best first, keep their order: in every seed, in the mean alone, or not."""
    if all(better[seed] > worse[seed] for better, worse in pairwise(scores) for seed in better):
        return "yes, in every seed"
    in_the_mean = all(mean(better.values()) > mean(worse.values()) for better, worse in pairwise(scores))
    return "in the mean, not in every seed" if in_the_mean else "**no**"


if __name__ == "__main__":
    sys.exit(main())
