"""Whether torch.compile pays back within a trial on this machine: what it takes, after how many steps it is even, what
the next process pays, and whether it computes the same twice.

    python -m benchmarks.compiled [--write]    minutes; --write puts the table into docs/benchmarks.md

The best case for it: batches of one shape, so that it compiles once. Both ways take turns step by step.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Timed:
    """Seconds of each step of one training as it is, compiled, and compiled by the next process, which finds on disk
    what the compiler left there; whether both compiled ones left the same weights, bit by bit."""

    plain: list[float]
    compiled: list[float]
    again: list[float]
    same: bool


def main(words: list[str]) -> int:
    lines = [
        "| student | as it is, ms per step | compiled, ms per step | compiled beside it | to compile, s "
        "| in the next process, s | even after | twice the same bits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as place:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{place}/compiled"  # empty: what an earlier run left would be found
        texts = setting.text(Path(place) / "text", [64] * 16 * STEPS, 64, 16, THREADS)
        images = setting.images(Path(place) / "images", 16 * STEPS, 16, THREADS)
        named = (("distilbert, 6 layers, width 256", texts), ("mobilenetv2, CIFAR stem", images))
        lines += [line(name, timed(each)) for name, each in named]
    text = "\n".join([*lines, "", described()])
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "compiled", text)
    return 0


def timed(each: Setting) -> Timed:
    models = [student_of(each) for _ in range(3)]
    plain, compiled = trained(each, models[0], torch.compile(models[1]))
    torch.compiler.reset()
    [again] = trained(each, torch.compile(models[2]))
    weights = zip(models[1].state_dict().values(), models[2].state_dict().values(), strict=True)
    return Timed(plain, compiled, again, all(torch.equal(*pair) for pair in weights))


def trained(each: Setting, *ways: torch.nn.Module) -> list[list[float]]:
    """Seconds of each step of these, of the student alone, in turns."""
    rules, seconds = [optimizer(each, way, Pass()) for way in ways], [list[float]() for _ in ways]
    for batch in each.batches():
        inputs, labels = inputs_of(batch), batch["labels"].to(DEVICE)
        for way, rule, taken in zip(ways, rules, seconds, strict=True):
            began = now()
            F.cross_entropy(way(**inputs).logits, labels).backward()
            rule.step()
            rule.zero_grad()
            taken.append(now() - began)
    return seconds


def line(name: str, found: Timed) -> str:
    """The first steps hold the compiling; what is left of them beyond a usual step is what it took."""
    usual = [median(each[WARM:]) for each in (found.plain, found.compiled, found.again)]
    taken, again = sum(found.compiled[:WARM]) - WARM * usual[1], sum(found.again[:WARM]) - WARM * usual[2]
    middle, low, high = ratio(found.compiled[WARM:], found.plain[WARM:])
    even = f"{taken / (usual[0] - usual[1]):,.0f} steps" if usual[1] < usual[0] else "never"
    times = " | ".join(f"{1e3 * each:.0f}" for each in usual[:2])
    paid = f"{taken:.0f} | {again:.0f} | {even}"
    return f"| {name} | {times} | {middle:.2f} ({low:.2f}–{high:.2f}) | {paid} | {'yes' if found.same else '**no**'} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
