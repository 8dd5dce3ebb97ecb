"""The command line as a user meets it: a real process, with a runs folder and a cache of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TINY = (
    *("--task", "digits", "--seeds", "2", "--isolation", "process"),
    *("--set", "transfer_rows=100", "--set", "epochs=1", "--set", "teacher_training.epochs=1"),
)
"""The smallest run there is: three steps per trial."""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Kdagent:
    runs: Path
    cache: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "agent"
    root: Path = ROOT
    """The checkout whose code runs."""

    def __call__(self, *words: str, stdin: bytes = b"", **environment: str) -> Said:
        process = self.start(*words, **environment)
        out, err = process.communicate(stdin, timeout=300)
        return Said(process.returncode, out.decode(), err.decode())

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        variables = self.variables | environment
        return subprocess.Popen([sys.executable, "-m", self.module, *words], cwd=self.root, env=variables, **pipes)

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment: a key or an endpoint of the user's must not leak into a test."""
        folders = {"HOME": self.cache.parent, "KDAGENT_RUNS": self.runs, "KDAGENT_CACHE": self.cache}
        fixed = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return {name: str(folder) for name, folder in folders.items()} | fixed | dict(self.environment)
