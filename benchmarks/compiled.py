"""Whether compiling a student pays back within a trial on this machine, as a run measures it: what it takes, after how
many steps it is even, what the next process pays, and whether it computes the same twice.

    python -m benchmarks.compiled [--write]    minutes; --write puts the table into docs/benchmarks.md

Texts differ in length, as they do; both ways take turns step by step.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from baselines.processes.pace import STEPS, WARM, Turns, turns
from benchmarks import setting
from benchmarks.machine import described
from benchmarks.measure import ratio
from benchmarks.page import DOCS, put
from benchmarks.setting import Setting

THREADS, BATCH, LONGEST = 1, 16, 64


def main(words: list[str]) -> int:
    lines = [
        "| student | as it is, ms per step | compiled, ms per step | compiled beside it | to compile, s "
        "| in the next process, s | even after | twice the same bits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as place:
        lengths = np.random.default_rng(0).integers(8, LONGEST + 1, BATCH * STEPS).tolist()
        texts = setting.text(Path(place) / "text", lengths, LONGEST, BATCH, THREADS)
        images = setting.images(Path(place) / "images", BATCH * STEPS, BATCH, THREADS)
        encoder, cnn = "distilbert, 6 layers, width 256", "mobilenetv2, CIFAR stem"
        named = ((encoder, texts), (f"{encoder}, bf16", replace(texts, precision="bf16")), (cnn, images))
        lines += [line(name, *timed(each)) for name, each in named]
    text = "\n".join([*lines, "", described()])
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "compiled", text)
    return 0


def timed(each: Setting) -> tuple[Turns, Turns, Turns, Turns]:
    """The student as it is, compiled, compiled with what that left on disk, as by the next process, and once more from
    an empty disk."""
    job = each.job() | {"out": str(each.folder), "model": each.student, "training": each.training}
    _forget(each)
    plain, compiled = turns(job, False, True)
    torch.compiler.reset()
    [again] = turns(job, True)
    _forget(each)
    return plain, compiled, again, *turns(job, True)


def _forget(each: Setting) -> None:
    torch.compiler.reset()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(dir=each.folder)


def line(name: str, plain: Turns, compiled: Turns, again: Turns, anew: Turns) -> str:
    middle, low, high = ratio(compiled.seconds[WARM:], plain.seconds[WARM:])
    saved = plain.usual * (1 - middle)
    even = f"{compiled.first / saved:,.0f} steps" if saved > 0 else "never"
    times = " | ".join(f"{1e3 * each.usual:.0f}" for each in (plain, compiled))
    bits = "yes" if compiled.weights == again.weights == anew.weights else "**no**"
    paid = f"{compiled.first:.0f} | {again.first:.0f} | {even}"
    return f"| {name} | {times} | {middle:.2f} ({low:.2f}–{high:.2f}) | {paid} | {bits} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
