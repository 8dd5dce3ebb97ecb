"""How long `kdagent runs` takes among ten thousand runs, the start of Python included.

    python -m tests.campaigns.crowd [--write]

`--write` puts the figures into docs/replay.md.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from agent.plan.options import Options
from benchmarks.page import DOCS, put
from tests.agent.command import Kdagent

RUNS, TIMES = 10_000, 9


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        kdagent = Kdagent(Path(name) / "runs", Path(name) / "home" / "cache")
        for number in range(RUNS):
            finished(kdagent.runs / f"20260101-{number:06}-soft-labels-aaaa")
        before = os.times()
        took = [listed(kdagent) for _ in range(TIMES)]
        after = os.times()
    busy = (after.children_user + after.children_system - before.children_user - before.children_system) / TIMES
    text = (
        f"`kdagent runs` among {RUNS:,} finished runs, the start of Python included: {busy:.2f} s of processor time, "
        f"and {statistics.median(took):.2f} s at the median of {TIMES} times ({min(took):.2f} to {max(took):.2f} s), "
        f"on {os.cpu_count()} cores under a load of {os.getloadavg()[0]:.1f}.\n"
    )
    print(text, end="")
    if "--write" in words:
        put(DOCS / "replay.md", "crowd", text)
    return 0


def finished(folder: Path) -> None:
    folder.mkdir(parents=True)
    options = Options(idea="soft labels", scale="demo", tasks=("digits",)).to_json()
    record = {"schema": 1, "id": folder.name, "created": "2026-01-01T00:00:00+00:00", "status": "succeeded"}
    found = {"verdict": "inconclusive", "reason": "", "parent": "", "tags": ["night"], "tracks": ["digits"]}
    (folder / "run.json").write_text(json.dumps(record | found | {"options": options}, indent=1))


def listed(kdagent: Kdagent) -> float:
    """Seconds that one list took."""
    started = time.monotonic()
    said = kdagent("runs")
    assert said.out.count("\n") == RUNS, said.err
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
