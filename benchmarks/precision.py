"""Whether a student learns faster in bf16, by its width, and as well: what a plan's default precision follows.

python -m benchmarks.precision [--data-dir FOLDER] [--write]    a quarter of an hour

With a folder that holds CIFAR-10 accuracy on images is measured there, else on the digits. --write puts the tables into
docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.jobs.machine import multiplies_bf16
from benchmarks import accuracy, setting
from benchmarks.arms import ours_cached
from benchmarks.machine import described
from benchmarks.measure import measured, ratio
from benchmarks.page import DOCS, put
from benchmarks.setting import Setting
from sandbox.isolation.child_setup import MEMORY

WIDTHS, SEEDS, PASSES, STEPS = (64, 128, 256, 512), 6, 2, 14
WAYS = ("fp32", "bf16")
RESNET = {"architecture": "resnet", "layers": 3, "blocks": [1, 1, 1], "bottleneck": False}
WHOLE = {"architecture": "resnet", "layers": 4, "blocks": [3, 4, 6, 3], "bottleneck": True, "width": 64}
CNNS = {
    "mobilenetv2": ({}, "cifar", 16),
    "mobilenetv2, shorter": ({}, "imagenet", 32),
    "resnet, 3 blocks, width 16": (RESNET | {"width": 16}, "cifar", 64),
    "resnet, 3 blocks, width 64": (RESNET | {"width": 64}, "imagenet", 32),
    "resnet-50, shorter": (WHOLE, "imagenet", 16),
    "resnet-50": (WHOLE, "cifar", 16),
}
"""Student, stem and batch size."""
LEARNT = {
    "docstrings": ("demo.docstrings", {"width": 256, "heads": 4}, {"learning_rate": 5e-4}),
    "digits": ("demo.digits", {"width": 64}, {}),
    "CIFAR-10": ("small.cifar10", RESNET | {"width": 64}, {}),
}
"""Track, student and training. At the demo scale's own learning rate an encoder so wide stays at chance."""


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(words)
    if not MEMORY.items() <= os.environ.items():  # as in a run; the C library reads it when a process begins
        return subprocess.call([sys.executable, "-m", "benchmarks.precision", *words], env=os.environ | MEMORY)
    with tempfile.TemporaryDirectory() as place:
        lines = ["| student | fp32, ms per step | bf16, ms per step | bf16 beside fp32 |", "|---|---|---|---|"]
        lines += [_speed(name, each) for name, each in _settings(Path(place))]
    for name in ("docstrings", "CIFAR-10" if options.data_dir else "digits"):
        lines += ["", *_accuracies(name, options.data_dir)]
    lines += ["", f"{described()} {'It multiplies' if multiplies_bf16() else 'It does **not** multiply'} in bf16."]
    text = "\n".join(lines)
    print(text)
    if options.write:
        put(DOCS / "benchmarks.md", "precision", text)
    return 0


def _settings(place: Path) -> Iterator[tuple[str, Setting]]:
    for width in WIDTHS:
        rows = [64] * 16 * STEPS
        yield (
            f"distilbert, 6 layers, width {width}; [16, 64] tokens",
            setting.text(place / str(width), rows, 64, 16, threads=1, width=width),
        )
    for name, (student, stem, batch) in CNNS.items():
        made = setting.images(place / name, batch * STEPS, batch, 1, stem, **student)
        yield f"{name}, {stem} stem; [{batch}, 3, 32, 32]", made


def _speed(name: str, each: Setting) -> str:
    arms = {way: lambda asked, way=way: ours_cached(replace(asked, precision=way)) for way in WAYS}
    found = {way: seen.seconds for way, seen in measured(each, arms, PASSES).items()}
    times = " | ".join(f"{1e3 * float(np.median(found[way])):.0f}" for way in WAYS)
    middle, low, high = ratio(found["bf16"], found["fp32"])
    return f"| {name} | {times} | {middle:.2f} ({low:.2f}–{high:.2f}) |"


def _accuracies(name: str, data_dir: str) -> list[str]:
    track, student, training = LEARNT[name]
    ways = {way: {"precision": way} | training for way in WAYS}
    found = accuracy.compare(ways, SEEDS, track, data_dir if name == "CIFAR-10" else "", **student)
    kind = student.get("architecture", "student")
    what = (
        f"distillation on {name} as {track} has it, a {kind} of width {student['width']}, {SEEDS} seeds, the same steps"
    )
    return accuracy.table("What bf16 costs in accuracy", what, "precision", found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
