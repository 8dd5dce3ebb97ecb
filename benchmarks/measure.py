"""Arms that take turns step by step, so that a busy machine hits all alike; ratios with their intervals."""

import ctypes
import gc
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from greenlet import greenlet

from benchmarks.arms import CUDA, Arm, Pass
from benchmarks.setting import Setting

WARM, BLOCK = 2, 2
DRAWS, LEVEL = 10_000, 0.95


@dataclass
class Measured:
    """Of one arm: seconds per step in each block, the first losses, and what it needed beyond what was there, in MB."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    memory: float = 0.0


def measured(setting: Setting, arms: Mapping[str, Arm], passes: int) -> dict[str, Measured]:
    """Every arm by itself, for its losses and its memory, then `passes` of all of them in turns."""
    torch.set_num_threads(setting.threads)
    found = {}
    for name, arm in arms.items():
        done, memory = with_memory(arm, setting)
        found[name] = Measured([], done.losses, memory)
    for _ in range(passes):
        for name, done in turns(setting, arms).items():
            found[name].seconds += done.blocks(WARM, BLOCK)
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


def with_memory(arm: Arm, setting: Setting) -> tuple[Pass, float]:
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        done = arm(setting)
        return done, torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    stop, before, highest = threading.Event(), resident(), [0.0]

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = arm(setting)
    finally:
        stop.set()
        watcher.join()
    return done, highest[0] - before


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """The median over the blocks, in each of which both took their turns, with a bootstrap interval."""
    found = np.array(one) / np.array(other)
    drawn = np.random.default_rng(0).choice(found, (DRAWS, len(found)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.median(found)), float(low), float(high)


def disagreement(one: list[float], other: list[float]) -> float:
    """The largest difference of two arms' first losses, relative."""
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(one, other, strict=True))
