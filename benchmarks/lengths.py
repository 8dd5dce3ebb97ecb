"""What batches of texts of similar length save, and what they cost in accuracy: why a plan has random ones.

    python -m benchmarks.lengths --data-dir DIR [--seeds N] [--write]    minutes, with every core at work

The `small` scale's models on 6,000 rows of AG News, without a teacher, trained each way from the same seeds.
--write puts the table into docs/benchmarks.md.
"""

import argparse
import io
import multiprocessing
import os
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import torch

from agent import config
from agent.plan import ModelSpec, Training
from baselines.batches import BatchCallback
from baselines.experiment import Experiment
from benchmarks.accuracy import prepared, tried
from benchmarks.machine import described
from tests.page import DOCS, put

WINDOWS = (0, 3, 8)
"""Batches in a window; none where batches are random."""
SIZES = {"train_rows": 600, "transfer_rows": 5400, "dev_rows": 500, "test_rows": 4000}
CARD = config.cards(config.SCALES)["small"]["ag_news"]
MODELS = {"teacher": "teacher, 6,000 labels", "student": "student, 600 labels"}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lengths")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        task = {"name": "ag_news", "data_dir": asked.data_dir}
        data = prepared(Path(place) / "data", task, "small.ag_news", CARD["input_size"], **SIZES)
        work = list(product([data], MODELS, WINDOWS, range(asked.seeds)))
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            found = np.array(pool.starmap(trained, work, chunksize=1)).reshape(
                len(MODELS), len(WINDOWS), asked.seeds, 2
            )
    text = "\n".join([*table(found), "", described()])
    print(text)
    if asked.write:
        put(DOCS / "benchmarks.md", "lengths", text)
    return 0


def trained(data: Path, who: str, window: int, seed: int) -> tuple[float, float]:
    """Test accuracy in per cent, and seconds: of the teacher's model with all labels, or the student's with 600."""
    torch.set_num_threads(1)
    training = Training(**CARD["teacher_training" if who == "teacher" else "training"]).model_dump()
    unit = {"arm": who, "model": ModelSpec(**CARD[who]).model_dump(), "method": {}, "teacher": False}
    unit |= {"training": training, "reveal_transfer": who == "teacher"}
    steps = round((SIZES["train_rows"] + SIZES["transfer_rows"]) * training["epochs"] / training["batch_size"])
    job = {"seen": str(data / "seen"), "labels": str(data / "labels"), "checkpoints": 0, "teacher": None}
    with tempfile.TemporaryDirectory() as out:
        experiment = Experiment(job | {"steps": steps}, unit, seed, Path(out), io.StringIO())
        if window:
            experiment.callbacks.insert(0, BatchCallback(window))
        return tried(experiment, "student_only", data)


def table(found: np.ndarray) -> list[str]:
    """`found` [models, windows, seeds, (accuracy, seconds)]; each window beside random batches, seed by seed."""
    seeds = found.shape[2]
    lines = [
        f"AG News, texts of at most {CARD['input_size']} tokens, {seeds} seeds; differences are paired.",
        "",
        "| model | batches | test accuracy | difference, points (standard error) | time |",
        "|---|---|---|---|---|",
    ]
    for said, ways in zip(MODELS.values(), found, strict=True):
        for window, way in zip(WINDOWS, ways, strict=True):
            gaps, ratios = (way - ways[0])[:, 0], (way / ways[0])[:, 1]
            error = gaps.std(ddof=1) / seeds**0.5
            against = f"{gaps.mean():+.1f} ({error:.1f}) | {np.median(ratios):.2f}" if window else " | 1.00"
            name = f"windows of {window}" if window else "random"
            lines.append(f"| {said} | {name} | {way[:, 0].mean():.1f} ± {way[:, 0].std(ddof=1):.1f} | {against} |")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
