"""How each framework fills the machine under the recipe track, and the passes that it trains so.

A process serves both settings, texts and images: what it takes to import is paid once.
"""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agent.jobs.machine import ABREAST, multiplies_bf16
from benchmarks.arms import CUDA
from benchmarks.rivals import FOR_IMAGES
from benchmarks.setting import Setting
from benchmarks.worker import Workers

KEEPING = ("K-c", "K-32", "K-full")  # memory, as a run's processes do
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Way:
    """Some processes of one arm side by side, and what they train."""

    setting: Setting
    arm: str
    count: int
    threads: int
    kept: bool

    @property
    def processes(self) -> tuple[str, int, bool]:
        """What those of another way must have in common to be the same."""
        return self.arm, self.count, self.kept


def ways(each: Setting, arms: Container[str]) -> dict[str, Way]:
    """Each arm as its users run it, on the whole machine; ours as the harness fills it."""
    filled = (ABREAST, max(1, CORES // ABREAST)) if CUDA else (CORES, 1)
    plain = replace(each, precision="fp32")
    cast = replace(each, precision="bf16") if each.name == "text" and multiplies_bf16() else plain
    theirs = ("TB-G", "TD", *(FOR_IMAGES if each.name == "images" else ()))
    found = {arm: (each, arm, 1, CORES) for arm in ("F0", "F1", "N", *theirs, "K-c") if arm in arms}
    found |= {"K-given": (each, "K-c", 1, CORES)}
    found |= {"K-32": (plain, "K-c", *filled)} if cast != plain else {}
    found |= {"K-full": (cast, "K-c", *filled)}
    return {shown: Way(*how, kept=shown in KEEPING) for shown, how in found.items()}


@contextmanager
def workers(some: Sequence[Way]) -> Iterator[dict[tuple[str, int, bool], Workers]]:
    """The processes of these ways, all of them ready; those that several have in common are started once."""
    started = {key: Workers(*key) for key in {way.processes: None for way in some}}
    try:
        for each in started.values():
            each.wait()
        yield started
    finally:
        for each in started.values():
            each.stop()


def rounds(found: Mapping[str, Way], started: Mapping[tuple, Workers], count: int) -> dict[str, list[float]]:
    """Seconds per row of each way in that many passes; ways take turns pass by pass, each round begun by another."""
    seconds: dict[str, list[float]] = {shown: [] for shown in found}
    for number in range(count):
        turn = number % len(found)
        for shown in [*found][turn:] + [*found][:turn]:
            way = found[shown]
            seconds[shown].append(started[way.processes].seconds_per_row(way.setting, way.threads))
    return seconds
