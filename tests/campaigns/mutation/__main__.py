"""A thousand random changes of one character in the record of a run, and twenty records that nobody changed.

    python -m tests.campaigns.mutation [--write] [N]

Exits with 1 where verify misses a change or finds one that was not made. `--write` puts the table into docs/replay.md.
"""

import sys
import tempfile
import time
from pathlib import Path

from agent.recheck.verify import verify
from agent.record import runs
from agent.record.paths import RunPaths
from benchmarks.page import DOCS, put
from tests.campaigns.mutation.mutations import Tried, sample
from tests.campaigns.mutation.untouched import records

CHANGED = "report commented"
"""The record that is changed: it holds every kind of file."""


def main(words: list[str]) -> int:
    count = next((int(word) for word in words if word.isdigit()), 1000)
    with tempfile.TemporaryDirectory() as folder:
        kept = dict(records(Path(folder)))
        alarms = {name: verify(paths).findings for name, paths in kept.items()}
        started = time.monotonic()
        tried = sample(kept[CHANGED], count)
        took = time.monotonic() - started
        text = f"{_changes(tried, took)}\n{_untouched(kept, alarms)}"
    print(text)
    missed = [each for group in tried.values() for each in group if not each.found]
    for each in missed:
        print(f"missed: {each.mutation}: {each.said}")
    for name, findings in alarms.items():
        print("".join(f"false alarm: {name}: {finding}\n" for finding in findings), end="")
    if "--write" in words:
        put(DOCS / "replay.md", "mutation", text)
    return int(bool(missed or any(alarms.values())))


def _changes(tried: dict[str, list[Tried]], took: float) -> str:
    lines = ["| in | changes | found | line named |", "|---|---|---|---|"]
    for kind, group in tried.items():
        texts = [each for each in group if each.mutation.line]
        placed = f"{sum(each.placed for each in texts)} of {len(texts)}" if texts else "no text"
        lines.append(f"| {kind} | {len(group)} | {sum(each.found for each in group)} | {placed} |")
    made = [each for group in tried.values() for each in group]
    found = sum(each.found for each in made)
    return "\n".join(lines) + f"\n\n{found} of {len(made):,} changes of one character were found, in {took:.0f} s.\n"


def _untouched(kept: dict[str, RunPaths], alarms: dict[str, list[object]]) -> str:
    lines = ["| untouched record | status | findings |", "|---|---|---|"]
    lines += [f"| {name} | {runs.read(paths)['status']} | {len(alarms[name])} |" for name, paths in kept.items()]
    wrong = sum(bool(findings) for findings in alarms.values())
    return "\n".join(lines) + f"\n\n{wrong} false alarms on {len(kept)} records that nobody altered.\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
