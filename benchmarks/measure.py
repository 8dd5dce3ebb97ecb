"""Arms that take turns step by step, so that a busy machine hits all alike; ratios with their intervals."""

import ctypes
import gc
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from greenlet import greenlet

from benchmarks.arms import CUDA, FIRST, Arm, Pass
from benchmarks.setting import Setting

WARM = 2
CLOSEST = ("F0", "K-c")
DRAWS, LEVEL = 10_000, 0.95


@dataclass
class Measured:
    """Of one arm: seconds of a step in each timed turn, the first losses, and what it needed beyond what was there, in
    MB."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    memory: float = 0.0


def measured(setting: Setting, arms: Mapping[str, Arm], passes: int, more: int = 0) -> dict[str, Measured]:
    """`passes` of all arms in turns, and as many `more` of the closest two. The losses are those of fp32: in bf16
    kdagent's teacher would answer in another precision than the others'."""
    torch.set_num_threads(setting.threads)
    found, draw = {name: Measured() for name in arms}, random.Random(0)
    for some in [arms] * passes + [{name: arms[name] for name in CLOSEST}] * more:
        for name, done in turns(setting, some, draw).items():
            found[name].seconds += done.seconds(WARM)
            found[name].memory = found[name].memory or done.memory
            found[name].losses = done.losses
    if setting.precision != "fp32":
        plain = replace(setting, precision="fp32", block=1)
        for name, arm in arms.items():
            working, done = begun(arm, plain, FIRST + 1)  # some take a loss down after its step
            working.throw()
            found[name].losses = done.losses
    return found


def turns(setting: Setting, arms: Mapping[str, Arm], draw: random.Random) -> dict[str, Pass]:
    """All arms at once in one thread: the first turns of each by itself, for its memory, then a step of each in turn.
    The order is drawn again, since who comes after whom decides which memory is at hand.

    Threads of their own would each bring their own OpenMP team, and take twice as long.
    """
    working, memory, found = dict[str, greenlet](), dict[str, float](), dict[str, Pass]()
    for name, arm in arms.items():
        with weighed() as weights:
            working[name], _ = begun(arm, setting, WARM)
        [memory[name]] = weights
    while working:
        for name in draw.sample([*working], len(working)):
            said = working[name].switch()
            if working[name].dead:
                found[name] = replace(said, memory=memory[name])
                del working[name]
    return found


def begun(arm: Arm, setting: Setting, count: int) -> tuple[greenlet, Pass]:
    """After that many turns."""
    working = greenlet(arm)
    done = working.switch(setting)
    for _ in range(count - 1):
        working.switch()
    return working, done


@contextmanager
def weighed() -> Iterator[list[float]]:
    """Holds, in the end, the MB that were needed beyond what was there. Of an arm's first two turns: one makes the
    optimizer's state, the next computes beside it."""
    found = list[float]()
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.append((torch.cuda.max_memory_allocated() - before) / 1e6)
        return
    ctypes.CDLL(None).malloc_trim(0)
    stop, first = threading.Event(), resident()
    highest = [first]

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
    found.append(highest[0] - first)


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """The median over pairs of steps, or of passes, that were taken in turns, with a bootstrap interval; what one took
    beyond the other was taken without it."""
    both = min(len(one), len(other))
    found = np.array(one[:both]) / np.array(other[:both])
    drawn = np.random.default_rng(0).choice(found, (DRAWS, len(found)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.median(found)), float(low), float(high)


def disagreement(one: list[float], other: list[float]) -> float:
    """The largest difference of two arms' first losses, relative."""
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(one, other, strict=True))
