"""How cost grows with rows: building the teacher's cache, one epoch of a trial, and memory, beside a straight line.

    python -m benchmarks.scaling [--write]    minutes; --write puts the table into docs/benchmarks.md

Each size has a process of its own, so that its memory is its own. Models of the demo scale, texts of 50 tokens.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import setting
from benchmarks.arms import ours_cached
from benchmarks.machine import described
from benchmarks.measure import WARM
from benchmarks.page import DOCS, put
from benchmarks.setting import PLAIN, ROOT, Setting
from sandbox.isolation.child_setup import MEMORY

ROWS = (1_000, 4_000, 16_000, 64_000, 120_000)
TOKENS, BATCH = 50, 48
SIZES = {
    "teacher": PLAIN | {"architecture": "bert", "layers": 3, "width": 96, "heads": 2},
    "student": PLAIN | {"architecture": "distilbert", "layers": 3, "width": 40, "heads": 2},
}


def main(words: list[str]) -> int:
    if words[:1] == ["--rows"]:
        print(json.dumps(measure(int(words[1]))))
        return 0
    if words[:1] == ["--trial"]:
        print(json.dumps(trial(Setting.read(Path(words[1])))))
        return 0
    text = table([_apart("--rows", str(rows)) for rows in ROWS]) + f"\n\n{described()}"
    print(text)
    if "--write" in words:
        put(DOCS / "benchmarks.md", "scaling", text)
    return 0


def _apart(*words: str) -> dict:
    """What a process of its own prints last."""
    command = [sys.executable, "-m", "benchmarks.scaling", *words]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | MEMORY, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(rows: int) -> dict:
    """Lays the rows out, has the teacher answer them, and leaves the trial to another process."""
    torch.set_num_threads(1)
    setting.VOCABULARY, setting.TEXT = 8000, SIZES
    with tempfile.TemporaryDirectory() as place:
        made = setting.text(Path(place) / "text", [TOKENS] * rows, TOKENS, BATCH, threads=1)
        made.write(Path(place) / "setting.json")
        answers = (made.folder / "teacher" / "logits.safetensors").stat().st_size
        trained = _apart("--trial", str(Path(place) / "setting.json"))
    return {"rows": rows, "cache": made.cache_seconds, "bytes": answers} | trained


def trial(made: Setting) -> dict:
    torch.set_num_threads(1)
    epoch = median(ours_cached(made).seconds(WARM)) * made.steps
    return {"epoch": epoch, "memory": _most_resident()}


def _most_resident() -> float:
    """MB. The kernel's ru_maxrss would be the parent's where that had more when it started this process."""
    [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024 / 1e6


def table(found: list[dict]) -> str:
    """Each size beside its share of the largest: what is paid once would show as an excess of the small ones."""
    most = found[-1]
    lines = [
        f"Texts of {TOKENS} tokens, batches of {BATCH}, one thread. In brackets: the last row's share by its rows.",
        "",
        "| rows | teacher's answers, once, s | an epoch of a trial, s | answers on disk, kB | the trial's memory, MB |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        part = each["rows"] / most["rows"]
        cells = [f"{each[name]:.1f} ({most[name] * part:.1f})" for name in ("cache", "epoch")]
        lines.append(f"| {each['rows']:,} | {' | '.join(cells)} | {each['bytes'] / 1e3:,.0f} | {each['memory']:.0f} |")
    per_row = np.polyfit([each["rows"] for each in found], [each["memory"] for each in found], 1)[0] * 1e6
    lines += ["", f"- memory grows by {per_row:.0f} bytes per row, of which {4 * TOKENS} are its tokens"]
    ratio = most["cache"] / most["epoch"]
    lines.append(f"- one pass of the teacher is {ratio:.2f} of a student's epoch; N trials of E epochs pay it once:")
    lines += ["", "| trials × epochs | online beside cached, in teacher and student time |", "|---|---|"]
    for trials, epochs in ((1, 1), (1, 10), (3, 10), (20, 3)):
        passes = trials * epochs
        lines.append(f"| {trials} × {epochs} | {passes * (1 + ratio) / (passes + ratio):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
