"""The teacher process: trains a track's teacher once and caches what students will ask of it.

    python -m baselines teacher JOB.json …

The teacher learns from every label of the pool, those hidden from students included; that is what it has to teach. With
no steps to train it is a checkpoint as it is, whose classes are brought into the task's order by their names.
An assistant is a teacher that learned as students do, from a larger one's answers.
Generated rows have no label: both answer them like all others, and learn from none of them.
Each stage names its last file when all are whole, so a stage whose last file exists is not repeated. That of a training
also has the hashes of the files it left, for a process that is cut off before the agent has recorded any.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn

from baselines.data import augmented_views
from baselines.data.collator import Collator
from baselines.data.job_files import TeacherJob
from baselines.data.job_rows import splits
from baselines.data.rows import Rows, read_rows
from baselines.errors import BaselineError
from baselines.methods.critical import critical_layers
from baselines.methods.matching import matched
from baselines.methods.miniplm import log_likelihoods
from baselines.models.build import finished
from baselines.models.device import DEVICE
from baselines.models.fingerprint import fingerprint, parameters
from baselines.models.inputs import accepted
from baselines.models.layers import spatial, taps
from baselines.training.cached_teacher import SCORES, cached, load, place, scores
from baselines.training.experiment import Experiment
from baselines.training.trainfile import import_file, save

SCORED = 512  # dev rows on which a block is left out
BATCH = 256  # rows per forward when outputs are cached; sorted by length, so padding is small


def teach(job: TeacherJob) -> None:
    """job: out, seen, labels, file (train.py to train it with), unit, seed, steps, checkpoints, threads; teacher (the
    folder of the one that an assistant learns from, else None); method, which may ask for several teachers, from one
    seed after another; for the cache of features also student_layers and feature_cache (bytes); dev (inputs and labels
    of the dev rows), where the plan pairs layers by what they are worth."""
    torch.set_num_threads(job["threads"])
    for number in range(job["method"].get("teachers", 1)):
        out = place(Path(job["out"]), number)
        out.mkdir(exist_ok=True)
        _teach(job | {"seed": job["seed"] + number}, out, layered=number == 0)


def _teach(job: dict, out: Path, layered: bool) -> None:
    """One teacher; `layered` where its features may be asked for."""
    if not (out / "teacher.json").exists():
        _train(job, out)
    task = json.loads((Path(job["seen"]) / "task.json").read_text())
    if layered and job.get("dev") and not (out / SCORES).exists():
        _score(job["dev"], out, task)
    layers = _missing(job, out) if layered else []
    if layers or not (out / f"{cached(task)}.safetensors").exists():
        cache = _cache_likelihoods if task["kind"] == "language" else _cache
        cache(load(out).to(DEVICE), _pool(job, task), task, layers, out)


def _missing(job: dict, out: Path) -> list[int]:
    """Blocks whose states the plan's method will ask for, that fit the cache and are not in it yet."""
    facts = json.loads((out / "teacher.json").read_text())
    pairs = matched(job["method"], len(facts["widths"]), job["student_layers"], scores(out))
    layers = sorted({teacher for _, teacher in pairs})
    if sum(facts["feature_bytes"][layer - 1] for layer in layers) > job["feature_cache"]:
        return []  # the trial will run the teacher itself, and count it
    return [layer for layer in layers if not (out / f"features-{layer}.safetensors").exists()]


def _score(dev: dict, out: Path, task: dict) -> None:
    """The score of each block, on the first of the dev rows (which choose), for a plan that pairs layers by it."""
    labels = load_file(Path(dev["labels"]))["labels"]
    rows, model, collate = read_rows(Path(dev["inputs"]), task["kind"], 0, labels), load(out), Collator(task)
    model, count = model.to(DEVICE), min(SCORED, len(rows))
    batches = [collate([rows[i] for i in range(at, min(at + BATCH, count))]) for at in range(0, count, BATCH)]
    inputs = [accepted(model, batch) | {"labels": batch["labels"]} for batch in batches]
    moved = [{name: value.to(DEVICE) for name, value in batch.items()} for batch in inputs]
    _, found = critical_layers(model, moved, 1)
    part = out / "critical.part"
    part.write_text(json.dumps({"schema": 1, "rows": count, "scores": found}))
    part.rename(out / SCORES)


def _train(job: dict, out: Path) -> None:
    started = time.monotonic()
    task = json.loads((Path(job["seen"]) / "task.json").read_text())
    model = _trained(job, out) if job["steps"] else _as_it_is(job, task, out)
    model.config.save_pretrained(out)
    facts = {
        "schema": 1,
        "spec": job["unit"]["model"],
        "steps": job["steps"],
        "seed": job["seed"],
        "seconds": time.monotonic() - started,
        "card_memory": torch.cuda.max_memory_reserved() if job["steps"] and torch.cuda.is_initialized() else 0,
        "parameters": parameters(model),
        "fingerprint": fingerprint(model),
        **_shapes(model, _pool(job, task), task),
    }
    files = ("weights.safetensors", "config.json", "trace.jsonl")
    facts["files"] = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files}
    part = out / "teacher.part"
    part.write_text(json.dumps(facts))
    part.rename(out / "teacher.json")
    shutil.rmtree(out / "trainer", ignore_errors=True)


def _pool(job: dict, task: dict) -> Rows:
    """Labelled, transfer and generated rows, in the order of their ids."""
    train, transfer, generated = splits(job, job["unit"] | {"generated": True}, task["kind"])
    return train + transfer + generated


def _trained(job: dict, out: Path) -> nn.Module:
    experiment = Experiment(job, job["unit"], job["seed"], out, (out / "trace.jsonl").open("w"))
    try:
        model = import_file(Path(job["file"])).train(experiment)
        save(model, experiment.student, out)
    except FloatingPointError as error:
        raise BaselineError(f"teacher: {error}", "lower teacher_training.learning_rate") from error
    return model


def _as_it_is(job: dict, task: dict, out: Path) -> nn.Module:
    model = finished(job["unit"]["model"], task)
    save(model, model, out)
    (out / "trace.jsonl").touch()  # nothing was trained
    return model


def _shapes(model: nn.Module, rows: Rows, task: dict) -> dict:
    """Per block: channels or hidden size, and the bytes its states take for every row, in all its views, in fp32."""
    batch = Collator(task)([rows[0], rows[1]])
    with torch.no_grad():
        states = model.cpu().eval()(**accepted(model, batch), output_hidden_states=True).hidden_states
    ends = [states[tap] for tap in taps(model)]
    wide = [state.shape[1 if spatial(model) else 2] for state in ends]
    if task["kind"] == "image":  # all of one size, whatever the layout of their features
        shown = len(rows) * augmented_views.count(task)
        return {"widths": wide, "feature_bytes": [shown * state[0].numel() * 4 for state in ends]}
    tokens = sum(len(item) for item in rows.items)
    return {"widths": wide, "feature_bytes": [tokens * width * 4 for width in wide]}


@torch.inference_mode()
def _cache(model: nn.Module, rows: Rows, task: dict, layers: list[int], out: Path) -> None:
    """Logits of every row and the states of `layers`, view after view, in the order of the rows' ids."""
    lengths = (
        [len(item) for item in rows.items] if task["kind"] == "text" else [0] * len(rows) * augmented_views.count(task)
    )
    ends, logits = taps(model), torch.empty(len(lengths), len(task["labels"]))
    states: dict[int, list] = {layer: [None] * len(lengths) for layer in layers}
    for chosen, batch in _batches(rows, lengths, task):
        inputs = {name: value.to(DEVICE) for name, value in accepted(model, batch).items()}
        output = model(**inputs, output_hidden_states=bool(layers))
        logits[chosen] = output.logits.float().cpu()
        for layer in layers:
            for index, value in zip(chosen, output.hidden_states[ends[layer - 1]].float().cpu(), strict=True):
                states[layer][index] = value[: lengths[index]].clone() if task["kind"] == "text" else value.clone()
    for layer, values in states.items():
        _save(out / f"features-{layer}.safetensors", values, lengths, ragged=task["kind"] == "text")
    if not (out / "logits.safetensors").exists():
        _save_whole(out / "logits.safetensors", {"logits": logits})


def _batches(rows: Rows, lengths: list[int], task: dict) -> Iterator[tuple[list[int], dict]]:
    """(where its answers go, batch) for all rows, texts of one length together, in every view."""
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    for view in range(augmented_views.count(task)):
        collate = Collator(task, view=view)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            yield [view * len(rows) + index for index in chosen], collate([rows[index] for index in chosen])


@torch.inference_mode()
def _cache_likelihoods(model: nn.Module, rows: Rows, task: dict, layers: list[int], out: Path) -> None:
    """The log-likelihood of every row, in the order of the rows' ids. No method asks a language model for layers."""
    likelihoods = log_likelihoods(model, [item.tolist() for item in rows.items])
    _save_whole(out / "likelihoods.safetensors", {"likelihoods": likelihoods})


def _save(path: Path, values: list, lengths: list[int], ragged: bool) -> None:
    if not ragged:
        return _save_whole(path, {"values": torch.stack(values)})
    ends = torch.tensor(lengths).cumsum(0)
    return _save_whole(path, {"values": torch.cat(values), "offsets": ends - torch.tensor(lengths)})


def _save_whole(path: Path, tensors: dict) -> None:
    """A reader never meets half a file, nor one that only its writer may read: other runs share the folder."""
    own, part = path.with_suffix(".own"), path.with_suffix(".part")
    save_file(tensors, own)  # for its owner alone, and where Landlock isolates a job it may not change a file's mode
    shutil.copyfile(own, part)
    own.unlink()
    part.rename(path)
