"""The pace process: what a step of a student takes as it is and compiled, and whether compiling twice gives the same.

    python -m baselines pace JOB.json …

Real rows, the plan's batches, optimizer and precision; no teacher, which takes the same time either way. Both ways take
turns step by step in one process. A second process compiles again, and must produce the same bits.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TextIO

import torch

from baselines.data.job_files import PaceJob
from baselines.errors import BaselineError
from baselines.models.compiled import is_compiled
from baselines.models.device import DEVICE
from baselines.models.fingerprint import fingerprint
from baselines.training.experiment import Experiment
from baselines.training.forked import apart

WARM, STEPS = 4, 16
"""The first steps, which include compiling, again for every new kind of shape; and all of them."""
ALONE = {"method": {}, "teacher": False, "reveal_transfer": False}
NOTHING = {"labels": "", "teacher": None, "checkpoints": 0, "steps": STEPS}


@dataclass(frozen=True)
class Turns:
    """One student in training."""

    seconds: list[float]
    """Of each step."""
    weights: str
    """Hash of what it ended with."""

    @property
    def usual(self) -> float:
        return median(self.seconds[WARM:])

    @property
    def first(self) -> float:
        """What the first steps took beyond usual ones."""
        return max(0.0, sum(self.seconds[:WARM]) - WARM * self.usual)


def pace(job: PaceJob) -> None:
    """job: out, seen, model, training, threads, worth (seconds that a step takes at least where compiling is tried)."""
    torch.set_num_threads(job["threads"])
    found = _apart(job, lambda: {"plain": turns(job, False)[0].usual})
    if found.get("plain", -1.0) >= job["worth"]:
        found |= _apart(job, lambda: _beside(*turns(job, False, True)))
    if weights := found.pop("weights", ""):
        found["same"] = _apart(job, lambda: _from_nothing(job)).get("weights") == weights
    (Path(job["out"]) / "pace.json").write_text(json.dumps(found))


def turns(job: dict, *ways: bool) -> list[Turns]:
    """A student per way, compiled or not, step by step in turns."""
    students = [_Student(job, way) for way in ways]
    rows = [[student.step(number) for student in students] for number in range(STEPS)]
    seconds = zip(*rows, strict=True)
    return [Turns(list(own), fingerprint(each.student)) for own, each in zip(seconds, students, strict=True)]


def _beside(plain: Turns, compiled: Turns) -> dict:
    """Steps are compared batch by batch: texts differ in length."""
    pairs = zip(plain.seconds[WARM:], compiled.seconds[WARM:], strict=True)
    share = median(second / first for first, second in pairs)
    usual = {"plain": plain.usual, "compiled": share * plain.usual}
    return usual | {"first": compiled.first, "weights": compiled.weights}


def _from_nothing(job: dict) -> dict:
    """Compiled once more: what the first time left on disk is not looked at."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(job["out"]) / "fresh")
    return {"weights": turns(job, True)[0].weights}


def _apart(job: dict, work: Callable[[], dict]) -> dict:
    """What the work finds in a copy of this process, or its problem: what it compiles and takes of a card ends with
    the copy."""
    place = Path(job["out"]) / "found"

    def say(stream: TextIO) -> None:
        try:
            found = work()
        except BaselineError as error:
            found = {"problem": error.message}
        except Exception as error:  # whatever a compiler raises, or a machine that has none
            found = {"problem": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        stream.write(json.dumps(found))

    code = apart(say, place)
    return json.loads(place.read_text() or json.dumps({"problem": f"the process that tried it ended with {code}"}))


class _Student:
    def __init__(self, job: dict, way: bool) -> None:
        self.training = job["training"] | {"compiled": way}
        unit = ALONE | {"model": job["model"], "training": self.training}
        self.experiment = Experiment(job | NOTHING, unit, 0, Path(job["out"]), sys.stderr)
        if way and not is_compiled(self.experiment.student):
            raise BaselineError(f"a {job['model']['architecture']} has no part that can be compiled")
        self.student = self.experiment.student.to(DEVICE).train()
        self.rule, _ = self.experiment.optimizer(self.student)

    def step(self, number: int) -> float:
        """The seconds that it took. Its rows and its dropout follow from its number."""
        torch.manual_seed(number)
        rows = self.experiment.train_dataset
        places = torch.randint(len(rows), (self.training["batch_size"],)).tolist()
        batch = self.experiment.collator([rows[place] for place in places]).to(DEVICE)
        began = _now()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.training["precision"] == "bf16"):
            logits = self.student(**self.experiment.model_inputs(batch)).logits
        logits.float().square().mean().backward()  # any loss takes as long
        self.rule.step()
        self.rule.zero_grad()
        return _now() - began


def _now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
