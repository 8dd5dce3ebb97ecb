"""Whether torch.compile pays back within a trial on this machine: what it takes, and after how many steps it is even.

    python -m benchmarks.compiled [--write]    minutes; --write puts the table into docs/benchmarks.md

The best case for it: batches of one shape, so that it compiles once. Both ways take turns step by step.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from benchmarks import setting
from benchmarks.arms import DEVICE, Pass, inputs_of, now, optimizer, student_of
from benchmarks.machine import described
from benchmarks.measure import WARM, ratio
from benchmarks.setting import Setting
from tests.page import DOCS, put

STEPS, THREADS = 26, 1


def main(words: list[str]) -> int:
    lines = [
        "| student | as it is, ms per step | compiled, ms per step | compiled beside it | to compile, s | even after |",
        "|---|---|---|---|---|---|",
    ]
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as place:
        texts = setting.text(Path(place) / "text", [64] * 16 * STEPS, 64, 16, THREADS)
        images = setting.images(Path(place) / "images", 16 * STEPS, 16, THREADS)
        named = (("distilbert, 6 layers, width 256", texts), ("mobilenetv2, CIFAR stem", images))
        lines += [line(name, *timed(each)) for name, each in named]
    text = "\n".join([*lines, "", described()])
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "compiled", text)
    return 0


def timed(each: Setting) -> tuple[list[float], list[float]]:
    """Seconds of each step of the student alone: as it is, and compiled."""
    models = [student_of(each) for _ in range(2)]
    rules = [optimizer(each, model, Pass()) for model in models]
    ways, seconds = (models[0], torch.compile(models[1])), ([], [])
    for batch in each.batches():
        inputs, labels = inputs_of(batch), batch["labels"].to(DEVICE)
        for way, rule, taken in zip(ways, rules, seconds, strict=True):
            began = now()
            F.cross_entropy(way(**inputs).logits, labels).backward()
            rule.step()
            rule.zero_grad()
            taken.append(now() - began)
    return seconds


def line(name: str, plain: list[float], compiled: list[float]) -> str:
    """The first steps hold the compiling; what is left of them beyond a usual step is what it took."""
    usual = [median(each[WARM:]) for each in (plain, compiled)]
    taken, saved = sum(compiled[:WARM]) - WARM * usual[1], usual[0] - usual[1]
    middle, low, high = ratio(compiled[WARM:], plain[WARM:])
    even = f"{taken / saved:,.0f} steps" if saved > 0 else "never"
    times = " | ".join(f"{1e3 * each:.0f}" for each in usual)
    return f"| {name} | {times} | {middle:.2f} ({low:.2f}–{high:.2f}) | {taken:.0f} | {even} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
