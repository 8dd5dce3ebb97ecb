"""Blocks of steps in rotating order, so that a busy machine hits all arms alike; ratios with their intervals."""

import ctypes
import gc
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.arms import CUDA, Arm, Pass
from benchmarks.setting import Setting

WARM, FIRST = 2, 10
DRAWS, LEVEL = 10_000, 0.95


@dataclass
class Measured:
    """Of one arm: seconds per step in each round, the first losses, and what it needed beyond what was there, in MB."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    memory: float = 0.0


def rounds(setting: Setting, arms: Mapping[str, Arm], count: int) -> dict[str, Measured]:
    """Every arm once per round, each round begun by another."""
    torch.set_num_threads(setting.threads)
    found, names = {name: Measured() for name in arms}, list(arms)
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            done, memory = with_memory(arms[name], setting)
            found[name].seconds.append(done.per_step(WARM))
            found[name].losses = found[name].losses or done.first_losses(FIRST)
            found[name].memory = max(found[name].memory, memory)
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
    """The median over the rounds, in each of which both were measured side by side, with a bootstrap interval."""
    found = np.array(one) / np.array(other)
    drawn = np.random.default_rng(0).choice(found, (DRAWS, len(found)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.median(found)), float(low), float(high)


def disagreement(one: list[float], other: list[float]) -> float:
    """The largest difference of two arms' first losses, relative."""
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(one, other, strict=True))
