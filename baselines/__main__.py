"""A process that the agent starts: a step of a run, on one job file after another.

    python -m baselines PROCESS JOB.json …

A BaselineError becomes error.json in the folder that the job names, and exit code 2. Half of what a start used to take
was in looking for garbage among what had been imported, and in taking the process apart at its end: neither is done.
"""

import gc
import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from baselines.data import job_files
from baselines.errors import BaselineError

PROCESSES = {
    "prepare": "prepare",
    "pace": "pace",
    "teacher": "teach",
    "probe": "probe",
    "trial": "trials",
    "predict": "predict",
}
"""The function of each that does a job, in the module of `processes` that has its name."""


def main(process: str, *paths: str) -> int:
    gc.disable()
    work = getattr(import_module(f"baselines.processes.{process}"), PROCESSES[process])
    gc.freeze()
    gc.enable()
    for path in paths:
        try:
            work(job_files.read(process, Path(path)))
        except BaselineError as error:
            print(f"{error.message}\n{error.hint}", file=sys.stderr)
            if out := json.loads(Path(path).read_text()).get("out"):
                text = json.dumps({"message": error.message, "hint": error.hint})
                (Path(out) / "error.json").write_text(text)
            return 2
    return 0


if __name__ == "__main__":
    code = 1
    try:
        code = main(*sys.argv[1:])
    except BaseException:  # said here: nothing runs after what follows
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
