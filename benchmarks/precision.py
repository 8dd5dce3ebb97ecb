"""Whether a student learns faster in bf16, by its width, and as well: what a plan's default precision follows.

python -m benchmarks.precision [--write]    minutes; --write puts the tables into docs/benchmarks.md
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.environment import multiplies_bf16
from benchmarks import accuracy, setting
from benchmarks.arms import ours_cached
from benchmarks.machine import described
from benchmarks.measure import measured, ratio
from benchmarks.setting import Setting
from tests.page import DOCS, put

WIDTHS, LEARNT, SEEDS, PASSES, STEPS = (64, 128, 256, 512), 256, 6, 2, 14
WAYS, RATE = ("fp32", "bf16"), 5e-4
"""At the demo scale's learning rate a student so wide stays at chance."""


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as place:
        lines = [*_speeds(Path(place)), "", *_accuracies()]
    lines += ["", f"{described()} {'It multiplies' if multiplies_bf16() else 'It does **not** multiply'} in bf16."]
    text = "\n".join(lines)
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "precision", text)
    return 0


def _speeds(place: Path) -> list[str]:
    texts = {
        f"distilbert, 6 layers, width {width}": setting.text(
            place / str(width), [64] * 16 * STEPS, 64, 16, threads=1, width=width
        )
        for width in WIDTHS
    }
    images = {"mobilenetv2, CIFAR stem": setting.images(place / "images", 16 * STEPS, 16, threads=1)}
    lines = ["| student | fp32, ms per step | bf16, ms per step | bf16 beside fp32 |", "|---|---|---|---|"]
    return lines + [_speed(name, each) for name, each in (texts | images).items()]


def _speed(name: str, each: Setting) -> str:
    arms = {way: lambda asked, way=way: ours_cached(replace(asked, precision=way)) for way in WAYS}
    found = {way: seen.seconds for way, seen in measured(each, arms, PASSES).items()}
    times = " | ".join(f"{1e3 * float(np.median(found[way])):.0f}" for way in WAYS)
    middle, low, high = ratio(found["bf16"], found["fp32"])
    return f"| {name} | {times} | {middle:.2f} ({low:.2f}–{high:.2f}) |"


def _accuracies() -> list[str]:
    ways = {way: {"precision": way, "learning_rate": RATE} for way in WAYS}
    found = accuracy.compare(ways, SEEDS, {"width": LEARNT, "heads": 4})
    what = f"distillation on the docstrings, a student of width {LEARNT} at {RATE:g}, {SEEDS} seeds, the same steps"
    return accuracy.table("What bf16 costs in accuracy", what, "precision", found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
