"""How cost grows with attempts, seeds and epochs, and what a run does beside its trainings for each of them.

    python -m tests.campaigns.attempts [--write]    minutes; --write puts the table into docs/benchmarks.md

Whole runs of the command on the demo's digits, each from an empty cache. A scripted language model on a loopback port
edits the train.py anew in every attempt. In the model beside the measurement a run costs a fixed sum, and so much more
per attempt, per trial, and per epoch of a trial: kd_frameworks' "N trials of E epochs", where the teacher is paid once.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.machine import described
from benchmarks.page import DOCS, put
from benchmarks.setting import TRAIN_FILES
from tests.agent.command import Kdagent
from tests.agent.loopback import LoopbackModel

WANTED = ((1, 1, 5), (1, 3, 5), (1, 3, 40), (1, 10, 5), (5, 3, 5), (20, 3, 5))
"""Attempts, seeds, epochs."""
PLAN = """```json
{"title": "Matching logits", "objective": "See whether a squared error on logits distils.",
 "hypothesis": "The student gains from it.", "methodology": "Squared error on logits.", "method": "kd", "alpha": 0.9}
```"""
TERM = re.compile(r"soft = distillation\(.*\)")


@dataclass(frozen=True)
class Run:
    attempts: int
    seeds: int
    epochs: int
    trials: int
    seconds: float

    @property
    def costs(self) -> tuple[int, int, int, int]:
        """How often it pays: the fixed sum, an attempt, a trial, an epoch of a trial."""
        return 1, self.attempts, self.trials, self.trials * self.epochs


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as place:
        found = [run(Path(place) / str(number), *wanted) for number, wanted in enumerate(WANTED)]
    text = f"{table(found)}\n\n{described()}"
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "attempts", text)
    return 0


def run(place: Path, attempts: int, seeds: int, epochs: int) -> Run:
    """One run from an empty cache. Raises RuntimeError where it does not succeed with every attempt."""
    kdagent = Kdagent(place / "runs", place / "cache", {"KDAGENT_API_KEY": "scripted"})
    sizes = ["--attempts", str(attempts), "--seeds", str(seeds), "--set", f"training.epochs={epochs}"]
    with LoopbackModel(_author()) as model:
        began = time.monotonic()
        words = ["match the logits", "--task", "digits", *sizes, "--model", "scripted", "--base-url", model.base_url]
        process = kdagent.start("run", *words, "--yes")
        said = process.communicate()[1].decode()
        seconds = time.monotonic() - began
    [folder] = (place / "runs").glob("*/run.json")
    trials = list(folder.parent.glob("trials/**/trial.json"))
    tried = {path.relative_to(folder.parent).parts[1] for path in trials if "attempt-" in str(path)}
    if process.returncode or len(tried) != attempts:
        raise RuntimeError(f"{len(tried)} of {attempts} attempts were trained: {said[-500:]}")
    return Run(attempts, seeds, epochs, len(trials), seconds)


def _author() -> Iterator[str]:
    """A plan, then kd.py with the term in another power for each attempt."""
    yield PLAN
    source = (TRAIN_FILES / "kd.py").read_text()
    for attempt in count(1):
        term = f'soft = (outputs.logits - inputs["teacher_logits"]).abs().pow(1 + 1 / {attempt}).mean()'
        yield f"```python\n{TERM.sub(term, source)}```"


def table(found: Sequence[Run]) -> str:
    """Each run beside what the fitted model says of it, and the model."""
    counts, seconds = np.array([each.costs for each in found]), np.array([each.seconds for each in found])
    costs, _ = nnls(counts, seconds)
    lines = ["| attempts | seeds | epochs | trials | seconds | by the model |", "|---|---|---|---|---|---|"]
    for each, modelled in zip(found, counts @ costs, strict=True):
        sizes = (each.attempts, each.seeds, each.epochs, each.trials)
        lines.append(f"| {' | '.join(map(str, sizes))} | {each.seconds:.1f} | {modelled:.1f} |")
    fixed, attempt, trial, epoch = costs
    return "\n".join(
        [
            *lines,
            "",
            f"- {fixed:.1f} s for a run, {attempt:.1f} s more for each attempt, {trial:.2f} s for each trial, "
            f"{epoch * 1000:.0f} ms for each epoch of a trial (least squares over these runs, nothing costs "
            "less than nothing)",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
