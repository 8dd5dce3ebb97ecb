"""A demo run replayed at each level: trained again from an export, in a second clone of the repository.

    python -m tests.campaigns.replay [--write] [--tiny] [--home DIR]

Exits with 1 where one of them does not match. `--write` puts the table into docs/replay.md; `--tiny` takes the smallest
run instead of the demo; `--home` keeps everything there, and replays the run that is there already.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from agent.recheck.likeness import Likeness
from benchmarks.page import DOCS, put
from tests.agent.command import ROOT, TINY, Kdagent
from tests.agent.loopback import LoopbackModel

DEMO = ("efficient KD for small models", "--yes", "--budget", "60m")
NOBODY = "not-to-be-asked"


class Row(NamedTuple):
    what: str
    likeness: Likeness | None
    code: int
    seconds: float
    requests: int
    """That reached the endpoint the environment names."""

    @property
    def cells(self) -> str:
        said = self.likeness
        like = f"{said.verdict} ({said.how}): {said.reason}" if said else "no comparison"
        return f"| {self.what} | {like} | {self.code} | {self.seconds:.1f} | {self.requests} |"


def main(words: list[str]) -> int:
    idea = ("soft labels", *TINY, "--yes") if "--tiny" in words else DEMO
    with tempfile.TemporaryDirectory(prefix="kdagent-replay-") as folder:
        rows = list(_rows(Path(words[words.index("--home") + 1] if "--home" in words else folder), idea))
    cores = len(os.sched_getaffinity(0))
    said = f"`kdagent run {idea[0]!r}`, {cores} cores, {platform.machine()}, Python {platform.python_version()}:"
    head = "| replay | result | exit code | seconds | requests to a model |\n|---|---|---|---|---|"
    text = "\n".join([said, "", head, *(row.cells for row in rows)])
    print(text)
    if "--write" in words:
        put(DOCS / "replay.md", "replay", text)
    return int(any(row.code or row.requests for row in rows))


def _rows(home: Path, idea: tuple[str, ...]) -> Iterator[Row]:
    kdagent = Kdagent(home / "runs", home / "cache")
    original = _run(kdagent, idea)
    for level in ("report", "agent"):
        yield _replay(kdagent, f"--level {level}", original.name, "--level", level)
    kdagent("export", original.name, str(home / "run.tar.gz"))
    clone = home / "a clone in another folder"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    other = replace(kdagent, runs=clone / "runs", cache=home / "another cache", root=clone)
    other("import", str(home / "run.tar.gz"))
    yield _replay(other, "--level full, imported into a second clone", original.name, "--yes")
    yield _replay(kdagent, "--level live, asking the recipes again", original.name, "--level", "live")


def _run(kdagent: Kdagent, idea: tuple[str, ...]) -> Path:
    if not kdagent.runs.exists():
        process = kdagent.start("run", *idea)
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"{out.decode()}\n{err.decode()}")
    return min(kdagent.runs.iterdir())  # the oldest: the others replay it


def _replay(kdagent: Kdagent, what: str, *words: str) -> Row:
    """Where nobody is to be asked an endpoint waits all the same, and counts."""
    with LoopbackModel([]) as server:
        asked = {} if "live" in words else {"KDAGENT_BASE_URL": server.base_url, "KDAGENT_MODEL": NOBODY}
        started = time.monotonic()
        process = kdagent.start("replay", *words, "--json", **asked)
        out, err = process.communicate()
        took, requests = time.monotonic() - started, len(server.requests)
    print(err.decode() if process.returncode else "", end="", file=sys.stderr)
    found = Likeness.model_validate_json(out) if out else None
    return Row(what, found, process.returncode, took, requests)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
