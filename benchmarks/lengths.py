"""What batches of texts of similar length save, and what they cost in accuracy: why a plan has random ones.

    python -m benchmarks.lengths --data-dir DIR [--seeds N] [--write]    ten minutes, with every core at work

The `small` scale's models on 6,000 rows of AG News, without a teacher, trained both ways from the same seeds.
--write puts the table into docs/benchmarks.md.
"""

import argparse
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from agent import config
from agent.plan import ModelSpec, Training
from baselines import predict
from baselines.batches import WINDOW
from baselines.experiment import Experiment
from baselines.rows import read_rows
from baselines.trial import import_file
from benchmarks.accuracy import prepared
from benchmarks.machine import described
from benchmarks.setting import TRAIN_FILES
from tests.page import DOCS, put

WAYS = ("random", "similar")
SIZES = {"train_rows": 600, "transfer_rows": 5400, "dev_rows": 500, "test_rows": 4000}
CARD = config.cards(config.SCALES)["small"]["ag_news"]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lengths")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        task = {"name": "ag_news", "data_dir": asked.data_dir}
        data = prepared(Path(place) / "data", task, "small.ag_news", CARD["input_size"], **SIZES)
        work = list(product([data], range(asked.seeds), ("teacher", "student"), WAYS))
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            found = dict(zip((told[1:] for told in work), pool.starmap(trained, work, chunksize=1), strict=True))
    text = "\n".join([*_lines(found, asked.seeds), "", described()])
    print(text)
    if asked.write:
        put(DOCS / "benchmarks.md", "lengths", text)
    return 0


def trained(data: Path, seed: int, who: str, way: str) -> tuple[float, float]:
    """Test accuracy in per cent, and seconds: of the teacher's model with all labels, or the student's with 600."""
    torch.set_num_threads(1)
    training = Training(**CARD["teacher_training" if who == "teacher" else "training"], batches=way).model_dump()
    unit = {"arm": who, "model": ModelSpec(**CARD[who]).model_dump(), "method": {}, "teacher": False}
    unit |= {"training": training, "reveal_transfer": who == "teacher"}
    steps = round((SIZES["train_rows"] + SIZES["transfer_rows"]) * training["epochs"] / training["batch_size"])
    job = {"seen": str(data / "seen"), "labels": str(data / "labels"), "checkpoints": 0, "teacher": None}
    with tempfile.TemporaryDirectory() as out:
        experiment = Experiment(job | {"steps": steps}, unit, seed, Path(out), io.StringIO())
        began = time.perf_counter()
        model = import_file(TRAIN_FILES / "student_only.py").train(experiment).eval()
        seconds = time.perf_counter() - began
    test = read_rows(data / "held" / "test.safetensors", "text")
    labels = load_file(data / "labels" / "test.safetensors")["labels"]
    answers = predict.logits(model, test, json.loads((data / "seen" / "task.json").read_text()))
    return 100 * float(np.mean(answers.argmax(dim=1).numpy() == labels)), seconds


def _lines(found: dict[tuple[int, str, str], tuple[float, float]], seeds: int) -> list[str]:
    lines = [
        f"Windows of {WINDOW} batches, {seeds} seeds, AG News, texts of at most {CARD['input_size']} tokens.",
        "",
        "| model | random | similar | difference, points (standard error) | time |",
        "|---|---|---|---|---|",
    ]
    for who, said in (("teacher", "teacher, 6,000 labels"), ("student", "student, 600 labels")):
        one, other = (np.array([found[seed, who, way] for seed in range(seeds)]) for way in WAYS)
        gaps, ratios = (other - one)[:, 0], (other / one)[:, 1]
        spreads = " | ".join(f"{each[:, 0].mean():.1f} ± {each[:, 0].std(ddof=1):.1f}" for each in (one, other))
        error = gaps.std(ddof=1) / seeds**0.5
        lines.append(f"| {said} | {spreads} | {gaps.mean():+.1f} ({error:.1f}) | {np.median(ratios):.2f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
