"""A process that trains passes of one arm when it is told to: how a machine is filled, with one trial or with several.

python -m benchmarks.worker ARM    a setting's file comes in, one pass is trained; out comes when each step ended
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.arms import OWN, now
from benchmarks.rivals import RIVALS, missing
from benchmarks.setting import ROOT, Setting
from sandbox.isolation.child_setup import MEMORY


def main(words: list[str]) -> None:
    if words[0] in RIVALS:
        missing(words[0])
    arm, out = (OWN | RIVALS)[words[0]], sys.stdout
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        setting = Setting.read(Path(line.strip()))
        torch.set_num_threads(setting.threads)
        began = now()
        with contextlib.redirect_stdout(sys.stderr):
            done = arm(setting)
        print(json.dumps({"began": began, "ends": done.ends}), file=out, flush=True)


class Workers:
    """Some processes of one arm, side by side; where it is to be `kept`, memory is, as by the processes of a run."""

    def __init__(self, arm: str, count: int, kept: bool) -> None:
        argv = [sys.executable, "-m", "benchmarks.worker", arm]
        self.processes = [
            subprocess.Popen(
                argv,
                cwd=ROOT,
                env=os.environ | (MEMORY if kept else {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(count)
        ]

    def wait(self) -> None:
        """Until all have imported what they need; several arms may be at that at once."""
        for process in self.processes:
            self._said(process)

    def seconds_per_row(self, setting: Setting, threads: int) -> float:
        """Of one pass of every process at once, on that many threads each, building the model left out: from the first
        step's end on, of the process that is slowest, scaled to the whole pass."""
        place = setting.folder / f"{setting.precision}-{threads}.json"
        setting.with_threads(threads).write(place)
        for process in self.processes:
            process.stdin.write(f"{place}\n")
            process.stdin.flush()
        said = [self._said(process) for process in self.processes]
        spans = [(each["ends"][-1] - each["ends"][0]) * len(each["ends"]) / (len(each["ends"]) - 1) for each in said]
        return max(spans) / (setting.steps * setting.batch_size * len(self.processes))

    def _said(self, process: subprocess.Popen):
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with {process.wait()}: {' '.join(map(str, process.args))}")
        return json.loads(line)

    def stop(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
