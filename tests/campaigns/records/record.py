"""A run as a text fixture: what a replay without training reads of it. Tensors are numbers in one JSON file."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from agent.record.paths import RunPaths

TENSORS = "tensors.json"
PARTS = ("*.json", "idea.md", "events.jsonl", "conversation/**/*", "trials/*/*/*/trial.json")
PREDICTED = ("labels/*/*.safetensors", "trials/attempt-*/*/*/dev.safetensors")


def pack(paths: RunPaths, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    found = {path for pattern in PARTS for path in paths.folder.glob(pattern) if path.is_file()}
    for path in sorted(path for path in found if path != paths.clock):
        target = folder / path.relative_to(paths.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    files = sorted(path for pattern in PREDICTED for path in paths.folder.glob(pattern))
    said = {path.relative_to(paths.folder).as_posix(): _numbers(path) for path in files}
    (folder / TENSORS).write_text("".join(f"{line}\n" for line in _lines(said)))


def _numbers(path: Path) -> dict[str, object]:
    [(name, values)] = load_file(path).items()
    shortest = [value.item() if values.dtype.kind == "i" else float(str(value)) for value in values.ravel()]
    return {"name": name, "dtype": str(values.dtype), "shape": values.shape, "values": shortest}


def _lines(said: dict[str, dict[str, object]]) -> list[str]:
    """One line per file, so that a change shows where it is."""
    return ["{", ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in said.items()), "}"]


def unpack(folder: Path, runs: Path) -> RunPaths:
    """The run under its id in a runs folder."""
    paths = RunPaths(runs / json.loads((folder / "run.json").read_text())["id"])
    shutil.copytree(folder, paths.folder, ignore=shutil.ignore_patterns(TENSORS))
    for name, said in json.loads((folder / TENSORS).read_text()).items():
        target = paths.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        values = np.array(said["values"], dtype=said["dtype"]).reshape(said["shape"])
        save_file({said["name"]: values}, target)
    return paths
