"""A setting: two models of random weights and rows, laid out as the product's own processes lay them out.

Timing needs no trained weights; every arm starts from the same ones and sees the same rows in the same order.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate.data_loader import SeedableRandomSampler
from safetensors.numpy import save_file

from baselines.data.collator import Collator
from baselines.data.rows import Rows, read_rows, write_inputs
from baselines.models.build import build
from baselines.processes import teacher

ROOT = Path(__file__).parents[1]
TRAIN_FILES = ROOT / "templates" / "train"
PLAIN = {"checkpoint": "", "revision": "", "blocks": [], "bottleneck": False, "stem": "", "dropout": 0.0, "heads": 1}
TEXT = {
    "teacher": PLAIN | {"architecture": "bert", "layers": 12, "width": 256, "heads": 4},
    "student": PLAIN | {"architecture": "distilbert", "layers": 6, "width": 256, "heads": 4},
}
STAGES = {"layers": 4}
IMAGES = {
    "teacher": PLAIN | STAGES | {"architecture": "resnet", "width": 64, "blocks": [3, 4, 6, 3], "bottleneck": True},
    "student": PLAIN | STAGES | {"architecture": "mobilenetv2", "width": 1.0},
}
VOCABULARY, SEED = 30522, 0
METHOD = {"temperature": 3.0, "alpha": 0.9, "beta": 1.0, "layers": 3, "layer_map": "last", "name": "kd"}
TRAINING = {
    "epochs": 1.0,
    "optimizer": "adamw",
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "accumulation": 1,
    "compiled": False,
}


@dataclass(frozen=True)
class Setting:
    name: str
    folder: Path
    """Holds seen/, labels/ and teacher/."""
    task: dict
    student: dict
    batch_size: int
    threads: int
    rate: float
    """Learning rate."""
    precision: str = "fp32"
    block: int = 1
    """Steps of a turn, at whose end the device is waited for and the time is taken."""
    cache_seconds: float = 0.0
    """What it took to write down the teacher's answers to every row, once."""

    def write(self, place: Path) -> None:
        place.write_text(json.dumps(vars(self) | {"folder": str(self.folder)}))

    @classmethod
    def read(cls, place: Path) -> "Setting":
        said = json.loads(place.read_text())
        return cls(**said | {"folder": Path(said["folder"])})

    def with_threads(self, threads: int) -> "Setting":
        return replace(self, threads=threads)

    @property
    def rows(self) -> Rows:
        return read_rows(self.folder / "seen" / "train.safetensors", self.task["kind"])

    @property
    def steps(self) -> int:
        """One pass."""
        return len(self.rows) // self.batch_size

    @property
    def training(self) -> dict:
        own = {"batch_size": self.batch_size, "learning_rate": self.rate, "precision": self.precision}
        return TRAINING | own

    @property
    def unit(self) -> dict:
        return {"arm": "kd", "model": self.student, "training": self.training, "method": METHOD, "teacher": True}

    def job(self) -> dict:
        """What a trial is told."""
        places = {"seen": str(self.folder / "seen"), "labels": str(self.folder / "labels")}
        return places | {"teacher": str(self.folder / "teacher"), "steps": self.steps, "checkpoints": 0}

    def build_student(self):
        return build(self.student, self.task, SEED)

    @property
    def mixed(self) -> bool:
        """Whether texts differ in length, so that it matters which of them share a batch."""
        return len({len(item) for item in self.rows.items}) > 1

    def ordered(self) -> Rows:
        """The rows in the order in which a trial of ours draws them."""
        return self.rows.only(list(SeedableRandomSampler(self.rows, data_seed=SEED)))

    def batches(self) -> list[dict]:
        """One pass in that order, as tensors."""
        rows, collate = self.ordered(), Collator(self.task)
        starts = range(0, self.steps * self.batch_size, self.batch_size)
        return [collate([rows[place] for place in range(start, start + self.batch_size)]) for start in starts]


def text(folder: Path, lengths: Sequence[int], longest: int, batch_size: int, threads: int, **sizes: int) -> Setting:
    """Texts of these lengths in tokens, four classes; both models of those sizes (width, heads), or of their own."""
    draw = np.random.default_rng(SEED)
    items = [draw.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]
    task = {"kind": "text", "labels": list("abcd"), "vocabulary": VOCABULARY, "padding": 0, "input_size": longest}
    student, teacher_spec = (TEXT[who] | sizes for who in ("student", "teacher"))
    return _laid_out(Setting("text", folder, task, student, batch_size, threads, 1e-4), items, teacher_spec)


def images(folder: Path, count: int, batch_size: int, threads: int, stem: str = "cifar", **student: object) -> Setting:
    """Images of 32 pixels a side, ten classes; both models with that stem, the student of its own sizes or of those."""
    draw = np.random.default_rng(SEED)
    items = list(draw.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8))
    task = {"kind": "image", "labels": list("abcdefghij"), "channels": 3, "input_size": 32}
    task |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    # At 1e-4 AdamW's first steps, as large where a gradient is rounding error, part the arms within ten of them.
    teacher_spec, own = (IMAGES[who] | {"stem": stem} for who in ("teacher", "student"))
    return _laid_out(Setting("images", folder, task, own | student, batch_size, threads, 1e-6), items, teacher_spec)


def _laid_out(setting: Setting, items: list[np.ndarray], teacher_spec: dict) -> Setting:
    folder, task = setting.folder, setting.task
    labels = np.random.default_rng(SEED + 1).integers(0, len(task["labels"]), len(items))
    for part in ("seen", "labels", "teacher"):
        (folder / part).mkdir(parents=True)
    write_inputs(folder / "seen" / "train.safetensors", task["kind"], items, labels)
    write_inputs(folder / "seen" / "transfer.safetensors", task["kind"], [], None)
    save_file({"labels": np.zeros(0, np.int64)}, folder / "labels" / "transfer.safetensors")
    (folder / "seen" / "task.json").write_text(json.dumps({"schema": 1} | task))
    return _taught(setting, teacher_spec)


def _taught(setting: Setting, spec: dict) -> Setting:
    """The teacher after one step, and its cache, by the product's own process."""
    unit = setting.unit | {"arm": "teacher", "model": spec, "method": {}, "teacher": False, "reveal_transfer": True}
    job = setting.job() | {"out": str(setting.folder / "teacher"), "unit": unit, "seed": SEED, "teacher": None}
    job |= {"file": str(TRAIN_FILES / "student_only.py"), "steps": 1, "threads": setting.threads, "method": METHOD}
    job |= {"student_layers": setting.student["layers"], "feature_cache": 0, "dev": {}}
    began = time.perf_counter()
    teacher.teach(job)
    trained = json.loads((setting.folder / "teacher" / "teacher.json").read_text())["seconds"]
    return replace(setting, cache_seconds=time.perf_counter() - began - trained)
