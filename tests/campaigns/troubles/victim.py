"""kdagent whose processes are started once for real, and later leave what they left then: python -m … WORDS

A training of the smallest run takes seconds of processor time, nearly all of them imports. What the campaign asks is
what kdagent makes of stops, kills and damage: kdagent, git, isolation, users, files and signals are the real ones.
"""

import hashlib
import json
import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.cli import main
from sandbox.isolation import supervisor
from sandbox.isolation.backend import Backend
from sandbox.isolation.job import Job, Limits

PUPPET = Path(__file__).with_name("puppet.py")
ASIDE = shutil.ignore_patterns("trainer", "torchinductor*", "*.part", "*.own", "lock", ".cache", "tmp*")
real = supervisor.run


def run(job: Job, backend: Backend, limits: Limits, log: Path, cancelled: threading.Event | None = None) -> Any:
    if job.argv[1:3] != ("-m", "baselines"):  # the self-test of the isolation
        return real(job, backend, limits, log, cancelled)
    kept = Path(os.environ["KDAGENT_PUPPETS"]) / key(job, log.parents[1])
    if kept.exists():
        argv = (sys.executable, "-I", "-S", str(PUPPET), str(kept), str(job.write))
        return real(replace(job, argv=argv, read=(*job.read, kept, PUPPET)), backend, limits, log, cancelled)
    found = real(job, backend, limits, log, cancelled)
    if found.status == "ok":
        part = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        shutil.copytree(job.write, part, ignore=ASIDE, copy_function=shutil.copy2)
        for path in (part, *part.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if not kept.exists():
            part.rename(kept)
    return found


def key(job: Job, run_folder: Path) -> str:
    """All that a process follows from: its name, its job files without the places of this run, its train.py files."""
    found = [job.argv[3]]
    for name in job.argv[4:]:
        text = Path(name).read_text()
        found += [_still(text, run_folder), *(Path(file).read_text() for file in _files(json.loads(text)))]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:24]


def _still(text: str, run_folder: Path) -> str:
    return text.replace(str(run_folder), "RUN").replace(os.environ["KDAGENT_CACHE"], "CACHE")


def _files(job: dict[str, Any]) -> list[str]:
    own = [job["file"]] if "file" in job else []
    return own + [unit["file"] for unit in job.get("units", ()) if "file" in unit]


if __name__ == "__main__":
    supervisor.run = run
    sys.exit(main(sys.argv[1:]))
