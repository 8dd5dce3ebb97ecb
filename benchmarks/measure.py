"""Arms that take turns step by step, so that a busy machine hits all alike; ratios with their intervals."""

import ctypes
import gc
import threading
from collections.abc import Mapping
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
    """The first turns of every arm by itself, for its memory, then `passes` of all of them in turns, and as many `more`
    of the closest two. The losses are those of fp32: in bf16 kdagent's teacher would answer in another precision than
    the others'."""
    torch.set_num_threads(setting.threads)
    found = {name: Measured(memory=memory(arm, setting)) for name, arm in arms.items()}
    for some in [arms] * passes + [{name: arms[name] for name in CLOSEST}] * more:
        for name, done in turns(setting, some).items():
            found[name].seconds += done.seconds(WARM)
            found[name].losses = done.losses
    if setting.precision != "fp32":
        plain = replace(setting, precision="fp32", block=1)
        for name, arm in arms.items():
            found[name].losses = begun(arm, plain, FIRST + 1).losses  # some take a loss down after its step
    return found


def turns(setting: Setting, arms: Mapping[str, Arm]) -> dict[str, Pass]:
    """All arms at once in one thread, a step of each in turn, each turn begun by another.

    Threads of their own would each bring their own OpenMP team, and take twice as long.
    """
    working = {name: greenlet(arm) for name, arm in arms.items()}
    found, turn = dict[str, Pass](), 0
    while working:
        names = list(working)
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            said = working[name].switch(setting) if turn == 0 else working[name].switch()
            if working[name].dead:
                found[name] = said
                del working[name]
        turn += 1
    return found


def memory(arm: Arm, setting: Setting) -> float:
    """MB that the arm's first two turns need beyond what was there: the first step makes the optimizer's state, the
    next computes beside it."""
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        begun(arm, setting, 2)
        return torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    stop, before, highest = threading.Event(), resident(), [0.0]

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        begun(arm, setting, 2)
    finally:
        stop.set()
        watcher.join()
    return highest[0] - before


def begun(arm: Arm, setting: Setting, count: int) -> Pass:
    """After so many turns."""
    working = greenlet(arm)
    done = working.switch(setting)
    for _ in range(count - 1):
        working.switch()
    working.throw()
    return done


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
