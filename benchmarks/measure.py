"""Arms side by side, step by step in turn, so that a busy machine hits all alike; ratios with their intervals."""

import ctypes
import gc
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.arms import CUDA, TURN, Arm, Pass
from benchmarks.setting import Setting

WARM, FIRST, SHORT = 2, 10, 4
DRAWS, LEVEL = 10_000, 0.95


@dataclass
class Measured:
    """Of one arm: seconds of each step, the first losses, and what it needed beyond what was there, in MB."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    memory: float = 0.0


def side_by_side(setting: Setting, arms: Mapping[str, Arm]) -> dict[str, Measured]:
    """One pass of every arm, each in a thread of its own, one step after another in turn; a short one alone before it,
    for the memory."""
    torch.set_num_threads(setting.threads)
    short, line = setting.with_steps(SHORT), Line(arms)
    memory = {name: memory_of(arm, short) for name, arm in arms.items()}
    with ThreadPoolExecutor(len(arms)) as pool:
        passes = {name: pool.submit(line.run, name, arm, setting) for name, arm in arms.items()}
    done = {name: each.result() for name, each in passes.items()}
    return {name: Measured(p.seconds[WARM:], p.first_losses(FIRST), memory[name]) for name, p in done.items()}


class Line:
    """Whose turn it is: that of the first, who then goes to the end."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names, self.changed = deque(names), threading.Condition()

    def run(self, name: str, arm: Arm, setting: Setting) -> Pass:
        torch.set_num_threads(setting.threads)  # of this thread
        self._await(name)
        TURN.wait = lambda: self._next(name)
        try:
            return arm(setting)
        finally:
            with self.changed:
                self.names.popleft()
                self.changed.notify_all()

    def _next(self, name: str) -> None:
        with self.changed:
            self.names.rotate(-1)
            self.changed.notify_all()
        self._await(name)

    def _await(self, name: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.names[0] == name)


def memory_of(arm: Arm, setting: Setting) -> float:
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        arm(setting)
        return torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    stop, before, highest = threading.Event(), resident(), [0.0]

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        arm(setting)
    finally:
        stop.set()
        watcher.join()
    return highest[0] - before


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """The median of what was measured side by side, step by step or round by round, with a bootstrap interval."""
    found = np.array(one) / np.array(other)
    drawn = np.random.default_rng(0).choice(found, (DRAWS, len(found)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.median(found)), float(low), float(high)


def disagreement(one: list[float], other: list[float]) -> float:
    """The largest difference of two arms' first losses, relative."""
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(one, other, strict=True))
