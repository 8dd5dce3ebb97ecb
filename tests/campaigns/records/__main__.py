"""Plays the author again, and makes the record in `played/` anew: python -m tests.campaigns.records

Needed when prompts, presets or the record itself change: the recorded conversation then no longer fits.
"""

import tempfile
from pathlib import Path

from agent.record.paths import RunPaths
from tests.agent.command import Kdagent
from tests.agent.loopback import LoopbackModel
from tests.campaigns.records import author
from tests.campaigns.records.record import pack

PLAYED = Path(__file__).parent / "played"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kdagent-record-") as home:
        pack(run(Path(home)), PLAYED)


def run(home: Path) -> RunPaths:
    """A run in `home` in which the author answers. Raises SystemExit where it does not succeed."""
    kdagent = Kdagent(home / "runs", home / "cache")
    with LoopbackModel(author.REPLIES) as server:
        endpoint = ("--model", author.MODEL, "--base-url", server.base_url)
        process = kdagent.start("run", author.IDEA, *author.SETTING, *endpoint)
        out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"{out.decode()}\n{err.decode()}")
    print(out.decode().splitlines()[-3])
    [folder] = kdagent.runs.iterdir()
    return RunPaths(folder)


if __name__ == "__main__":
    main()
