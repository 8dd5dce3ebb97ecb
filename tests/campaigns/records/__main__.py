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
    with tempfile.TemporaryDirectory(prefix="kdagent-record-") as home, LoopbackModel(author.REPLIES) as server:
        kdagent = Kdagent(Path(home) / "runs", Path(home) / "cache")
        endpoint = ("--model", author.MODEL, "--base-url", server.base_url)
        process = kdagent.start("run", author.IDEA, *author.SETTING, *endpoint)
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"{out.decode()}\n{err.decode()}")
        [folder] = kdagent.runs.iterdir()
        pack(RunPaths(folder), PLAYED)
    print(out.decode().splitlines()[-4])


if __name__ == "__main__":
    main()
