"""What one way to train costs in accuracy beside another: the same students, the same steps."""

import io
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from agent import config
from agent.plan.plan import ModelSpec, Training
from baselines.data.rows import read_rows
from baselines.processes import predict, prepare, teacher
from baselines.training.experiment import Experiment
from baselines.training.trainfile import import_file
from benchmarks.setting import TRAIN_FILES


def prepared(folder: Path, task: dict, track: str, longest: int = 0, **sizes: int) -> Path:
    """Rows of a real task, prepared by the product's own process as the scale has that track, but for the longest text
    and the sizes that are given."""
    scale, name = track.split(".")
    card = config.cards(config.SCALES)[scale][name]
    os.environ.setdefault("KDAGENT_ARROW_CACHE", str(config.Settings.read().arrow))
    job = {"out": str(folder), "task": task, "sizes": card["sizes"] | sizes, "data_seed": 0, "label_noise": 0.0}
    job |= {"input_size": longest or card["input_size"], "batch_size": card["training"]["batch_size"]}
    job |= {who: ModelSpec(**card[who]).model_dump() for who in ("teacher", "student")}
    folder.mkdir(parents=True)
    prepare.prepare(job)
    return folder


def compare(
    ways: Mapping[str, dict], seeds: int, track: str = "demo.docstrings", data_dir: str = "", **student: object
) -> dict[str, dict[str, list[float]]]:
    """Distillation on a track of a scale: test accuracy in per cent and seconds per seed, of each way to train
    (settings of a training) its student, or one of other sizes."""
    torch.set_num_threads(1)
    scale, name = track.split(".")
    card = config.cards(config.SCALES)[scale][name]
    card = card | {"student": card["student"] | student}
    found = {way: {"accuracy": [], "seconds": []} for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder) / "data", {"name": name} | ({"data_dir": data_dir} if data_dir else {}), track)
        job, unit = _taught(Path(folder), data, card)
        for seed in range(seeds):
            for way, seen in found.items():
                own = unit | {"training": unit["training"] | ways[way]}
                experiment = Experiment(job, own, seed, Path(folder), io.StringIO())
                for name, value in zip(seen, tried(experiment, "kd", data), strict=True):
                    seen[name].append(value)
    return found


def tried(experiment: Experiment, arm: str, data: Path) -> tuple[float, float]:
    """Test accuracy in per cent of what `arm`'s train file makes of an experiment, and the seconds that it took."""
    began = time.perf_counter()
    model = import_file(TRAIN_FILES / f"{arm}.py").train(experiment).eval()
    seconds = time.perf_counter() - began
    test = read_rows(data / "held" / "test.safetensors", experiment.task["kind"])
    right = load_file(data / "labels" / "test.safetensors")["labels"]
    return 100 * float(np.mean(predict.logits(model, test, experiment.task).argmax(dim=1).numpy() == right)), seconds


def table(title: str, what: str, column: str, found: dict[str, dict[str, list[float]]]) -> list[str]:
    """The lines of two ways, the second compared with the first seed by seed."""
    one, other = found.values()
    seeds = len(one["accuracy"])
    lines = [f"**{title}**: {what}.", "", f"| {column} | test accuracy | seconds |", "|---|---|---|"]
    for way, seen in found.items():
        spread = f"{np.mean(seen['accuracy']):.1f} ± {np.std(seen['accuracy'], ddof=1):.1f}"
        lines.append(f"| {way} | {spread} | {np.mean(seen['seconds']):.1f} |")
    gap = np.array(other["accuracy"]) - np.array(one["accuracy"])
    error = float(np.std(gap, ddof=1) / np.sqrt(seeds))
    return [*lines, "", f"- difference {gap.mean():+.1f} points, standard error {error:.1f} over {seeds} paired seeds"]


def _taught(folder: Path, data: Path, card: dict) -> tuple[dict, dict]:
    """What a trial is told, and its unit; the teacher is trained."""
    (folder / "teacher").mkdir()
    rows = card["sizes"]["train_rows"] + card["sizes"]["transfer_rows"]
    common = {"seen": str(data / "seen"), "labels": str(data / "labels"), "checkpoints": 0, "threads": 1}
    unit = {"arm": "teacher", "model": ModelSpec(**card["teacher"]).model_dump(), "method": {}, "teacher": False}
    unit |= {"training": Training(**card["teacher_training"]).model_dump(), "reveal_transfer": True}
    steps = round(rows * card["teacher_training"]["epochs"] / card["teacher_training"]["batch_size"])
    method = card["method"] | {"layer_map": "last", "name": "kd"}
    told = common | {"out": str(folder / "teacher"), "unit": unit, "seed": 0, "steps": steps, "teacher": None}
    told |= {
        "file": str(TRAIN_FILES / "student_only.py"),
        "method": method,
        "student_layers": card["student"]["layers"],
        "feature_cache": 0,
    }
    teacher.teach(told | {"dev": {}})
    student, training = ModelSpec(**card["student"]).model_dump(), Training(**card["training"]).model_dump()
    own = {"arm": "kd", "model": student, "method": method, "teacher": True, "training": training}
    steps = round(rows * card["training"]["epochs"] / card["training"]["batch_size"])
    return common | {"teacher": str(folder / "teacher"), "steps": steps}, own | {"reveal_transfer": False}
