"""What isolation costs: the start of a job, and training inside beside training outside.

python -m tests.campaigns.probes.speed [--write]    for an idle machine; --write puts the figures into docs/security.md
"""

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.page import DOCS, put
from sandbox.errors import SandboxError
from sandbox.isolation import supervisor
from sandbox.isolation.backend import Backend
from sandbox.isolation.choose import BACKENDS, choose
from sandbox.isolation.job import Job, Limits

STARTS, PAIRS, TURNS = 20, 12, 60
IMPORTS_S = 12.0  # until both processes have imported torch
TRAINING = """
import sys, time, torch
begins, mine, turns, turn = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 0.2
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 10))
optimizer = torch.optim.AdamW(model.parameters())
rows, labels = torch.randn(128, 256), torch.randint(10, (128,))
assert time.monotonic() < begins, "late: imports took longer than the other process waits"
for number in range(turns):
    starts, steps = begins + (2 * number + mine) * turn, 0
    time.sleep(max(0.0, starts - time.monotonic()))
    started = time.monotonic()
    while time.monotonic() < starts + 0.9 * turn:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
        steps += 1
    print((time.monotonic() - started) / max(steps, 1))
"""
_Run = Callable[..., str]


def main(words: list[str]) -> int:
    text = "\n".join(cost(each.name) for each in BACKENDS if each.level)
    text += f"\nMeasured on {platform.machine()}, {os.cpu_count()} cores."
    print(text)
    if "--write" in words:
        put(DOCS / "security.md", "isolation cost", text)
    return int("NOT MEASURED" in text)


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
    """Inside over outside: two processes train by turns of a fifth of a second, so that what else the machine does
    falls on both; each pair is two new processes, for where one lies in memory is worth some per cent by itself."""
    ratios = []
    for number in range(PAIRS):
        first, second = (_outside, inside) if number % 2 else (inside, _outside)
        begins = time.monotonic() + IMPORTS_S
        with ThreadPoolExecutor() as both:
            waiting = {
                run: both.submit(run, TRAINING, str(begins), str(turn), str(TURNS))
                for turn, run in enumerate((first, second))
            }
        steps = {run: [float(line) for line in said.result().split()[-TURNS:]] for run, said in waiting.items()}
        ratios.append(statistics.median(f / o for f, o in zip(steps[inside], steps[_outside], strict=True)))
    return f"training {_interval(ratios)} by the clock, {PAIRS} pairs of processes, {TURNS} turns each"


def _interval(ratios: list[float]) -> str:
    """The mean, and 95 % by resampling the pairs."""
    generator = random.Random(0)
    means = sorted(statistics.geometric_mean(generator.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{statistics.geometric_mean(ratios):.3f}× ({means[50]:.3f}–{means[-51]:.3f})"


def _seconds(run: _Run, code: str) -> float:
    started = time.perf_counter()
    run(code)
    return time.perf_counter() - started


def _outside(code: str, *words: str) -> str:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True).stdout


def _inside(backend: Backend, folder: Path) -> _Run:
    out = folder / "out"
    out.mkdir()
    limits = Limits(wall_s=120, memory=4 << 30)

    log = folder / "log.txt"

    def run(code: str, *words: str) -> str:
        job = Job((sys.executable, "-c", code, *words), (), out)
        outcome = supervisor.run(job, backend, limits, log)
        assert outcome.status == "ok", outcome.tail
        return log.read_text()

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
