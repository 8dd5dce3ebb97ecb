"""A run killed at every event and inside every long step, and resumed to its end: is it the run nobody disturbed?

    python -m tests.campaigns.kill [--write]

Three chains of kills (see kills.py): right before each event, right after each event, and at random moments
inside long steps, there with a cache of its own, so that data are prepared and a teacher is trained anew. Every other
kill is a power cut: all processes of the run go at once. Else kdagent alone is killed, and must leave none behind.

Exits with 1 where anything differs. `--write` puts the table into docs/replay.md.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.record.paths import RunPaths
from benchmarks.page import DOCS, put
from tests.agent.command import Kdagent
from tests.campaigns.kill.kills import WORDS, AtEvent, Chain, Inside, Killed, Moment
from tests.campaigns.kill.ledger import ledger, report, results

SEED = 0
STEPS = (
    ("preparing data", "jobs/prepare-*/job-0.json", "prepare data", 2),
    ("teacher training", "jobs/teacher-*/job-0.json", "teachers", 3),
    ("reference trials", "jobs/*_*-digits-[0-9]/job-0.json", "train student_only", 4),
    ("the pilot", "jobs/pilot-*/job-0.json", "pilot", 3),
    ("trials of the attempt", "jobs/attempt-*/job-0.json", "train attempt", 3),
    ("prediction of dev rows", "jobs/predict-dev-*/job-0.json", "predict dev", 2),
    ("prediction of test rows", "jobs/predict-test-*/job-0.json", "predict test", 3),
    ("scoring and report", "trials/teacher/*/test.json", "", 2),
)
"""Long step, the file it begins with, the beginning of its phase's name, how often it is killed."""
SHORT = 0.3  # seconds of a step that no phase counts


@dataclass(frozen=True)
class Row:
    what: str
    killed: list[Killed]
    end: list[str]
    """What is wrong with the run at its end."""

    def __str__(self) -> str:
        power, wrong = sum(each.power for each in self.killed), sum(bool(each.complaints) for each in self.killed)
        return f"| {self.what} | {len(self.killed)} | {power} | {wrong} | {'; '.join(self.end) or 'the same'} |\n"


def main(words: list[str]) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = Kdagent(folder / "alone", folder / "home" / "cache")
        assert alone(*WORDS).code == 0
        [done] = map(RunPaths, alone.runs.iterdir())
        rows = [
            _row(what, done, moments, Kdagent(folder / what.replace(" ", "-"), cache))
            for what, moments, cache in (
                ("right before an event", at_events("before", done), alone.cache),
                ("right after an event", at_events("after", done), alone.cache),
                ("inside a long step", inside_steps(done), folder / "home" / "another"),
            )
        ]
        text = _table(rows, len(ledger(done)), time.monotonic() - started)
    print(text)
    if "--write" in words:
        put(DOCS / "replay.md", "kill", text)
    return int(any(row.end or any(each.complaints for each in row.killed) for row in rows))


def at_events(edge: str, done: RunPaths) -> list[Moment]:
    return [AtEvent(edge, number) for number in range(1, len(ledger(done)) + 1)]


def inside_steps(done: RunPaths) -> list[Moment]:
    """At random in the first two thirds of each step: one that is over cannot be killed again."""
    dice, took = random.Random(SEED), json.loads(done.results.read_text())["seconds"]
    found: list[Moment] = []
    for step, begins, phase, times in STEPS:
        seconds = next((value for name, value in took.items() if phase and name.startswith(phase)), SHORT)
        found += [Inside(step, begins, dice.uniform(0, seconds * 2 / 3)) for _ in range(times)]
    return found


def _row(what: str, done: RunPaths, moments: Sequence[Moment], kdagent: Kdagent) -> Row:
    chain = Chain(kdagent, ledger(done))
    for number, moment in enumerate(moments):
        came = chain.kill(moment, power=number % 2 == 0)
        print(f"{moment}: {'; '.join(chain.killed[-1].complaints) if came else 'came too late'}", flush=True)
    return Row(what, chain.killed, [*chain.end(kdagent), *differences(done, chain.paths)])


def differences(done: RunPaths, resumed: RunPaths) -> list[str]:
    """What is not the same in the run that nobody disturbed and in the one that was killed."""
    same = {"ledger": ledger, "results": results, "report": report}
    return [f"another {name}" for name, read in same.items() if read(done) != read(resumed)]


def _table(rows: Sequence[Row], events: int, seconds: float) -> str:
    kills = sum(len(row.killed) for row in rows)
    return (
        "| killed | kills | of them power cuts | with complaints | at its end, the run is |\n|---|---|---|---|---|\n"
        + "".join(map(str, rows))
        + f"\n{kills} kills of a run with {events} events, random moments by seed {SEED}, "
        f"in {seconds / 60:.0f} minutes on {os.cpu_count()} cores.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
