"""A tiny experiment on disk: real rows, small models, and the job files that the harness would write."""

import csv
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from baselines.processes.predict import predict
from baselines.processes.prepare import prepare
from baselines.processes.probe import probe
from baselines.processes.teacher import teach
from baselines.processes.trial import trials
from baselines.training.experiment import Experiment

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates" / "train"
PAPER = tomllib.loads((ROOT / "baselines" / "scales.toml").read_text())["paper"]
SIZES = {"train_rows": 32, "transfer_rows": 64, "dev_rows": 18, "test_rows": 24}
TRAINS = "trainer.train(resume_from_checkpoint=experiment.checkpoint)"
ARMS = (
    *("student_only", "pseudo_label", "kd", "kd_selective", "dkd", "dist", "standardised", "rkd", "crd", "hints"),
    "teacher_free",
)
ONLY = {"text": ("pkd", "tinybert", "minilm", "genset"), "image": ("attention",)}
"""Methods that are defined for one kind of rows."""
STEPS = 6
CORPUS = SIZES | {"train_rows": 96, "transfer_rows": 0}
SPEC = {
    "checkpoint": "",
    "revision": "",
    "layers": 3,
    "width": 16,
    "heads": 2,
    "blocks": [],
    "bottleneck": False,
    "dropout": 0.1,
    "stem": "",
}
MODELS = {
    "text": {"teacher": {"architecture": "bert", "width": 32}, "student": {"architecture": "distilbert"}},
    "image": {
        "teacher": {"architecture": "resnet", "blocks": [1, 1, 1], "stem": "cifar"},
        "student": {"architecture": "resnet", "blocks": [1, 1, 1], "stem": "cifar", "width": 8},
    },
    "language": {"teacher": {"architecture": "gpt2", "width": 32}, "student": {"architecture": "gpt2"}},
}
TRAINING = {
    "learning_rate": 3e-3,
    "batch_size": 16,
    "accumulation": 1,
    "optimizer": "adamw",
    "schedule": "linear",
    "warmup": 0.34,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "precision": "fp32",
    "compiled": False,
}
METHOD = {
    "name": "kd_selective",
    "temperature": 3.0,
    "alpha": 0.5,
    "beta": 1.0,
    "layers": 3,
    "layer_map": "last",
    "signal": "hidden",
    "norm": "layer",
    "init_layers": "none",
    "relation_heads": 4,
    "relations": "self",
    "contrast_temperature": 0.1,
    "contrast_width": 16,
    "queue": 64,
    "min_map_size": 2,
    "correct": 0.9,
    "peers": 2,
    "peer_sizes": "same",
    "generations": 2,
    "outer": "bilevel",
    "eta": 0.5,
    "update_every": 2,
    "weight_floor": 0.02,
}
WORDS = {
    "sea": ["wave", "tide", "harbour", "sail", "anchor"],
    "kitchen": ["oven", "flour", "butter", "knife", "plate"],
    "sky": ["cloud", "wind", "moon", "star", "thunder"],
}


def texts(count: int, seed: int) -> list[tuple[str, str]]:
    """Different sentences, each with the name of what most of its words are about."""
    draw = random.Random(seed)
    names = sorted(WORDS)
    return [
        (" ".join([*draw.choices(WORDS[names[n % 3]], k=draw.randint(2, 9)), f"number {seed}{n}"]), names[n % 3])
        for n in range(count)
    ]


def sentences(count: int, seed: int | str, words: int = 14) -> list[str]:
    """Texts in which a word of a topic is followed by others of it."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS[draw.choice(sorted(WORDS))], k=words)) for _ in range(count)]


def write_csv(path: Path, rows: list[tuple], header: tuple[str, ...] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def write_images(folder: Path, per_class: int, classes: tuple[str, ...] = ("dark", "light"), seed: int = 0) -> Path:
    """PNG files, one folder per class."""
    draw = random.Random(seed)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = bytes(draw.randrange(90) + 120 * place for _ in range(10 * 8 * 3))
            Image.frombytes("RGB", (10, 8), pixels).save(folder / name / f"{number:03}.png")
    return folder


def write_gpt2(folder: Path, tokens: int = 290, words: list[str] | None = None, **sizes: object) -> Path:
    """A GPT-2 as one is published: byte pairs, one mark that ends a text, and a head that is its embedding."""
    folder.mkdir(parents=True)
    byte_pairs = ByteLevelBPETokenizer()
    byte_pairs.train_from_iterator(words or sentences(150, "train"), tokens, special_tokens=["<|endoftext|>"])
    byte_pairs.save_model(str(folder))
    usual = {"vocab_size": byte_pairs.get_vocab_size(), "n_positions": 16, "n_embd": 16, "n_layer": 3, "n_head": 2}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**usual | sizes)).save_pretrained(folder)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def process(module: str, *jobs: dict, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m baselines.<module>` on job files, in an environment without the caller's own hub settings."""
    files = []
    for job in jobs:
        out = Path(job["out"])
        out.mkdir(parents=True, exist_ok=True)
        files.append(out.with_name(f"{out.name}.{module}.json"))
        files[-1].write_text(json.dumps(job))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "KDAGENT_"))}
    return subprocess.run(
        [sys.executable, "-m", "baselines", module, *map(str, files)],
        env=clean | {"OMP_NUM_THREADS": "1", "KDAGENT_ARROW_CACHE": str(files[0].parent / "arrow")} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def here(module: str, job: dict) -> None:
    """The same work in this process, which already has paid for its imports."""
    Path(job["out"]).mkdir(parents=True, exist_ok=True)
    {"prepare": prepare, "teacher": teach, "trial": trials, "probe": probe, "predict": predict}[module](job)


class Lab:
    """One task with its teacher and its student. Each method returns the job of one process."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind
        self.data, self.teacher, self.trials, self.logits = (root / n for n in ("data", "teacher", "trials", "logits"))
        self.task = {"name": "digits"}
        self.models = {who: SPEC | spec for who, spec in MODELS[kind].items()}
        if kind == "text":
            write_csv(root / "own" / "train.csv", texts(150, seed=1))
            write_csv(root / "own" / "test.csv", texts(30, seed=2))
            self.task = {"name": "own", "data": str(root / "own")}
        if kind == "language":
            for split, count in (("train", 150), ("test", 30)):
                write_csv(root / "ag_news" / f"{split}.csv", [(text, 0) for text in sentences(count, split)])
            self.task = {"name": "ag_news_text", "data_dir": str(root)}

    def prepare_job(self, **changes) -> dict:
        settings = {
            "data_seed": 0,
            "label_noise": 0.0,
            "input_size": 12 if self.kind == "text" else 8,
            "batch_size": 16,
            "sizes": CORPUS if self.kind == "language" else SIZES,
        }
        return {"out": str(self.data), "task": self.task} | settings | self.models | changes

    def teacher_job(self, **changes) -> dict:
        unit = {"arm": "teacher", "model": self.models["teacher"], "method": {}, "teacher": False}
        unit |= {"training": TRAINING, "reveal_transfer": True}
        settings = {"unit": unit, "file": str(TEMPLATES / "student_only.py"), "seed": 0, "teacher": None}
        cache = {"method": METHOD, "student_layers": 3, "feature_cache": 1 << 30, "checkpoints": 0, "dev": {}}
        return {"out": str(self.teacher), "steps": 2 * STEPS} | self._rows() | settings | cache | changes

    def unit(self, arm: str, **changes) -> dict:
        """A trial unit; `arm` names a template, or a train.py of its own in `file`."""
        unit = {"arm": arm, "file": str(TEMPLATES / f"{arm}.py"), "model": self.models["student"]}
        unit |= {"training": TRAINING, "method": METHOD, "teacher": arm not in ("student_only", "teacher_free")}
        return unit | {"reveal_transfer": False, "generated": False, "commit": "", "seeds": [1]} | changes

    def trial_job(self, *units: dict, **changes) -> dict:
        settings = {"out": str(self.trials), "teacher": str(self.teacher), "units": list(units), "steps": STEPS}
        return settings | {"checkpoints": 0, "versions": {}} | self._rows() | changes

    def predict_job(self, *units: dict, **changes) -> dict:
        inputs = {"task": str(self.data / "seen/task.json"), "inputs": str(self.data / "held/test.safetensors")}
        return {"out": str(self.logits), "units": list(units), "threads": 1} | inputs | changes

    def answer(self, arm: str, **changes) -> dict:
        """A unit of the prediction job: the weights that `arm` left behind."""
        unit = {
            "name": arm,
            "model": self.models["student"],
            "weights": str(self.trials / arm / "1/weights.safetensors"),
        }
        return unit | {"seed": 1, "latency": False, "init_layers": "none", "teacher": ""} | changes

    def train_file(self, folder: Path, arm: str, *edits: tuple[str, str]) -> str:
        """The template of `arm` with edits, as a file of its own."""
        text = (TEMPLATES / f"{arm}.py").read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(text)
        return str(folder / "train.py")

    def _rows(self) -> dict:
        return {"seen": str(self.data / "seen"), "labels": str(self.data / "labels"), "threads": 1, "checkpoints": 0}


def facts(lab: Lab) -> dict:
    return json.loads((lab.data / "facts.json").read_text())


def teacher_facts(lab: Lab) -> dict:
    return json.loads((lab.teacher / "teacher.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def experiment(lab: Lab, folder: Path, **changes) -> Experiment:
    return Experiment(lab.trial_job(), lab.unit("kd", **changes), seed=1, out=folder, trace=io.StringIO())


def report(folder: Path) -> dict:
    """trial.json of the one trial in `folder`."""
    return json.loads((folder / "trial.json").read_text())


def trace(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def real_data(name: str) -> Path:
    """The folder of a real task; skips the test where there is none."""
    root = Path(os.environ.get("KDAGENT_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (root / name).is_dir():
        pytest.skip(f"no {name} in {root}: name a folder of real data with KDAGENT_TEST_DATA")
    return root
