"""What isolation costs: the start of a job, and training inside beside training outside."""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import supervisor
from sandbox.errors import SandboxError
from sandbox.isolation import Backend, choose
from sandbox.job import Job, Limits

STARTS, PAIRS = 20, 16
TRAINING = """
import time, torch
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 10))
optimizer = torch.optim.AdamW(model.parameters())
rows, labels = torch.randn(128, 256), torch.randint(10, (128,))
started = time.perf_counter(), time.process_time()
for _ in range(1200):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(rows), labels).backward()
    optimizer.step()
print(time.perf_counter() - started[0], time.process_time() - started[1])
"""
_Run = Callable[[str], str]


def cost(name: str) -> str:
    """One line of Markdown on one backend, run as the user we are."""
    try:
        backend = choose(name)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as folder:
            inside = _inside(backend, Path(folder))
            start, training = _start(inside), _training(inside)
    except SandboxError as error:
        return f"{name}: cost NOT MEASURED: {error.message}.  "
    return f"{name}: {start}; {training}.  "


def _start(inside: _Run) -> str:
    """Interleaved, so that what else the machine does falls on both."""
    pairs = [(_seconds(_outside, "pass"), _seconds(inside, "pass")) for _ in range(STARTS)]
    outside, fenced = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    return f"start-up +{fenced - outside:.0f} ms (medians of {STARTS}: {outside:.0f} ms plain, {fenced:.0f} ms inside)"


def _training(inside: _Run) -> str:
    """Inside over outside, the order of each pair turned around; on a busy machine only processor time says much."""
    ratios = []
    for number in range(PAIRS):
        first, second = (_outside, inside) if number % 2 else (inside, _outside)
        times = {run: [float(word) for word in run(TRAINING).split()[-2:]] for run in (first, second)}
        ratios.append([fenced / free for fenced, free in zip(times[inside], times[_outside], strict=True)])
    wall, processor = (_interval(list(column)) for column in zip(*ratios, strict=True))
    return f"training {wall} by the clock, {processor} in processor time, {PAIRS} pairs"


def _interval(ratios: list[float]) -> str:
    """The mean, and 95 % by resampling the pairs."""
    generator = random.Random(0)
    means = sorted(statistics.geometric_mean(generator.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{statistics.geometric_mean(ratios):.3f}× ({means[50]:.3f}–{means[-51]:.3f})"


def _seconds(run: _Run, code: str) -> float:
    started = time.perf_counter()
    run(code)
    return time.perf_counter() - started


def _outside(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def _inside(backend: Backend, folder: Path) -> _Run:
    out = folder / "out"
    out.mkdir()
    limits = Limits(wall_s=120, memory=4 << 30)

    def run(code: str) -> str:
        job = Job((sys.executable, "-c", code), (), out)
        outcome = supervisor.run(job, backend, limits, folder / "log.txt")
        assert outcome.status == "ok", outcome.tail
        return outcome.tail

    return run
