"""The prediction process: weights and inputs in, logits out. No edited code runs here and no label is in reach.

    python -m baselines predict JOB.json …

The model class is built from the plan, the weights are loaded strictly; a student of another shape does not load.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from baselines.data.collator import Collator, last_places
from baselines.data.job_files import PredictJob
from baselines.data.rows import Rows, read_rows
from baselines.methods.initialise import init_from_teacher
from baselines.models.build import build
from baselines.models.device import DEVICE
from baselines.models.fingerprint import fingerprint, parameters
from baselines.models.inputs import accepted
from baselines.training.cached_teacher import load

BATCH = 256
WARM_UP, TIMED = 20, 200  # forwards of one row when latency is measured


def predict(job: PredictJob) -> None:
    """job: out, task (task.json), inputs (split file), threads, units [{name, model, weights, seed, latency, and for a
    student that starts from its teacher's layers init_layers and teacher (folder)}]."""
    torch.set_num_threads(job["threads"])
    task = json.loads(Path(job["task"]).read_text())
    rows = read_rows(Path(job["inputs"]), task["kind"])
    for unit in job["units"]:
        out = Path(job["out"]) / unit["name"]
        out.mkdir(parents=True, exist_ok=True)
        try:
            facts = _predict(unit, task, rows, out)
        except (RuntimeError, OSError, SafetensorError) as error:  # weights that are not the planned student's
            facts = {"status": "failed", "error": " ".join(str(error).split())[:500]}
        (out / "prediction.json").write_text(json.dumps({"schema": 1} | facts))


def _predict(unit: dict, task: dict, rows: Rows, out: Path) -> dict:
    model = build(unit["model"], task, unit["seed"])
    facts = {"status": "ok", "class": type(model).__name__, "parameters": parameters(model)}
    facts |= {"initial": fingerprint(model)}
    if unit.get("init_layers", "none") != "none":
        init_from_teacher(model, load(Path(unit["teacher"])), unit["init_layers"])
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.load_state_dict(load_file(unit["weights"]))
    model.eval().requires_grad_(False)
    facts |= {"fingerprint": fingerprint(model)} | distance(before, model)
    model.to(DEVICE)
    save_file({"logits": logits(model, rows, task)}, out / "logits.safetensors")
    return facts | (latency(model, rows, task) if unit["latency"] else {})


def distance(before: dict[str, torch.Tensor], model: nn.Module) -> dict[str, float]:
    """How far training moved the parameters: all together (L2), the one that moved most, and the largest at first."""
    moves = [(value - before[name]).double() for name, value in model.named_parameters()]
    return {
        "change": sum(float(move.square().sum()) for move in moves) ** 0.5,
        "furthest": max(float(move.abs().max()) for move in moves),
        "size": sum(float(value.double().square().sum()) for value in before.values()) ** 0.5,
        "largest": max(float(value.abs().max()) for value in before.values()),
    }


def logits(model: nn.Module, rows: Rows, task: dict) -> torch.Tensor:
    """[N, C] in fp32, in the order of the rows."""
    collate = Collator(task)
    lengths = [0] * len(rows) if task["kind"] == "image" else [len(item) for item in rows.items]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    result = torch.empty(len(rows), len(task["labels"]))
    with torch.no_grad():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = collate([rows[index] for index in chosen])
            inputs = {name: value.to(DEVICE) for name, value in asked(model, batch).items()}
            result[chosen] = model(**inputs).logits.float().cpu()
    return result


def asked(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the model is shown: one answer per row, which in a language is what follows the last token."""
    inputs = accepted(model, batch)
    return inputs | ({"places": last_places(inputs["attention_mask"])} if "places" in inputs else {})


def latency(model: nn.Module, rows: Rows, task: dict) -> dict:
    """Milliseconds of one forward over one row: median and 95th percentile over TIMED rows, after WARM_UP."""
    collate = Collator(task)
    batches = [collate([rows[index % len(rows)]]) for index in range(WARM_UP + TIMED)]
    seconds = []
    with torch.no_grad():
        for batch in batches:
            inputs = {name: value.to(DEVICE) for name, value in asked(model, batch).items()}
            started = time.perf_counter()
            model(**inputs).logits.cpu()  # copying the answer waits for a device that works on its own
            seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(np.array(seconds[WARM_UP:]) * 1e3, [50, 95])
    return {
        "inference_ms": float(p50),
        "inference_ms_p95": float(p95),
        "device": DEVICE,
        "threads": torch.get_num_threads(),
    }
