"""One tiny run that stops at every gate: planned, waiting for a review, interrupted while it trains, and finished."""

import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.record.paths import RunPaths
from tests.agent.command import TINY, Kdagent, Said


@dataclass
class Gates:
    kdagent: Kdagent
    said: dict[str, Said] = field(default_factory=dict)
    record: dict[str, dict[str, Any]] = field(default_factory=dict)
    """run.json at each gate."""
    weights: dict[Path, int] = field(default_factory=dict)
    """Trained weights that were there when it was interrupted, and when they were written."""
    left_running: list[str] = field(default_factory=list)
    """Processes of the run that were there after it was interrupted."""

    @property
    def paths(self) -> RunPaths:
        [folder] = self.kdagent.runs.iterdir()
        return RunPaths(folder)

    def pass_all(self) -> "Gates":
        self._go("planned", "run", "soft labels", *TINY, "--attempts", "2", "--plan-only")
        self._go("waiting", "resume", "@last")
        self._interrupt("stopped", "resume", "@last", "--yes")
        self._go("done", "resume", "@last")
        return self

    def _go(self, gate: str, *words: str) -> None:
        self._note(gate, self.kdagent(*words))

    def _interrupt(self, gate: str, *words: str) -> None:
        """Ctrl-C while the proposed arm trains."""
        process = self.kdagent.start(*words)
        job, deadline = self.paths.jobs / "attempt-1-digits-0" / "job-0.json", time.monotonic() + 200
        while not job.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self.weights = {path: path.stat().st_mtime_ns for path in self.paths.folder.glob("trials/*/*/*/weights.*")}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.left_running = [command for command in commands() if str(self.kdagent.runs) in command]
        self._note(gate, Said(process.returncode, out.decode(), err.decode()))

    def _note(self, gate: str, said: Said) -> None:
        self.said[gate] = said
        self.record[gate] = json.loads(self.paths.run.read_text())


def commands() -> list[str]:
    """The command line of every process there is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has just ended
            continue
    return found
