"""How a careless parent reads a workspace: each function does what tools of this kind were seen to do."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tests.campaigns.workspaces.place import Place

_SIZES = {"F32": 4, "U8": 1}


def reads_the_result(place: Place) -> Any:
    return json.loads((place.out / "trial.json").read_text())


def reads_the_result_in_a_folder(place: Place) -> Any:
    return json.loads((place.out / "kd" / "trial.json").read_text())


def believes_the_seconds(place: Place) -> Any:
    return reads_the_result(place)["seconds"]


def believes_the_status(place: Place) -> Any:
    return reads_the_result(place)["status"]


def merges_the_result(place: Place) -> Any:
    return ({"verdict": "inconclusive"} | reads_the_result(place))["verdict"]


def looks_up_the_seed(place: Place) -> Any:
    return {0: "trial 0", 1: "trial 1"}[reads_the_result(place)["seed"]]


def believes_the_metrics(place: Place) -> Any:
    return json.loads((place.out / "metrics.json").read_text())["accuracy"]


def unpickles_the_model(place: Place) -> Any:
    with (place.out / "model.pt").open("rb") as file:  # what torch.load does unless told otherwise
        return pickle.load(file)


def falls_back_to_pickle(place: Place) -> Any:
    try:
        return load_file(place.out / "weights.safetensors")
    except SafetensorError:
        return pickle.loads((place.out / "weights.safetensors").read_bytes())


def loads_the_arrays(place: Place) -> Any:
    return np.load(place.out / "logits.npz", allow_pickle=True)["logits"].shape


def reads_tensors_by_hand(place: Place) -> Any:
    with (place.out / "weights.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    for entry in header.values():
        (start, end), shape = entry["data_offsets"], np.array(entry["shape"])
        assert end - start == shape.prod() * _SIZES[entry["dtype"]]
        assert end <= len(data)
    return {name: entry["shape"] for name, entry in header.items()}


def runs_python_there(place: Place) -> Any:
    return _run(place, sys.executable, "-c", "import json")


def puts_it_on_the_path(place: Place) -> Any:
    return _run(place, sys.executable, "-c", "pass", PYTHONPATH=str(place.out))


def makes_it_the_home(place: Place) -> Any:
    return _run(place, os.path.realpath(sys.executable), "-c", "pass", HOME=str(place.out))


def tests_it(place: Place) -> Any:
    return _run(place, sys.executable, "-m", "pytest", "-q", str(place.out), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def reads_its_settings(place: Place) -> Any:
    settings = dict(line.split("=", 1) for line in (place.out / ".env").read_text().splitlines())
    return _run(place, sys.executable, "-c", "pass", **settings)


def commits_there(place: Place) -> Any:
    return _run(place, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "results")


def asks_git_what_changed(place: Place) -> Any:
    return _run(place, "git", "status")


def adds_all_to_git(place: Place) -> Any:
    return _run(place, "git", "add", "--all")


def shows_the_difference(place: Place) -> Any:
    return _run(place, "git", "diff")


def makes_a_repository_around_it(place: Place) -> Any:
    return [_run(place, "git", *words) for words in (["init", "-q"], ["add", "--all"], ["status"])]


def writes_the_next_edit(place: Place) -> Any:
    (place.out / "train.py").write_text("def train(experiment): ...\n")
    return "written"


def copies_everything(place: Place) -> Any:
    shutil.copytree(place.out, place.record / "all")
    return "copied"


def prints_the_log(place: Place) -> Any:
    return (place.out / "train.log").read_text()


def removes_it(place: Place) -> Any:
    shutil.rmtree(place.out)
    return "removed"


def measures_it(place: Place) -> Any:
    def size(folder: Path) -> int:
        return sum(size(item) if item.is_dir() else item.stat().st_size for item in folder.iterdir())

    return size(place.out)


def _run(place: Place, *words: str, **env: str) -> str:
    done = subprocess.run(words, cwd=place.out, env=os.environ | env, capture_output=True, text=True)
    return done.stdout + done.stderr
