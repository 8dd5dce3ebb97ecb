"""The hostile workspaces and the controls: how a child builds each, who reads it carelessly, and how we read it."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaigns.workspaces import careless, ours
from tests.campaigns.workspaces.place import TRIAL, Place

SECRET, CODE, TERMINAL, OUTSIDE = "secret returned", "code executed", "reaches the terminal", "outside file changed"


@dataclass(frozen=True)
class Workspace:
    name: str
    build: Callable[[Place], None]
    careless: Callable[[Place], Any]
    bites: str
    """What becomes of a careless parent: one of the above, `hangs`, the error it dies of, or `accepts` and a value;
    "" for a control."""
    ours: Callable[[Place], str]
    holds: str
    """What we say: part of the reason for which it is rejected, or, after `=`, what is read of the good part."""
    as_user: bool = False
    """Read by another user than root, who can enter every folder."""


# ── files that lead elsewhere ───────────────────────────────────────────────────────────────────────────────────────


def link(place: Place) -> None:
    (place.out / "trial.json").unlink()
    (place.out / "trial.json").symlink_to(place.secret / "trial.json")


def linked_folder(place: Place) -> None:
    (place.out / "kd").symlink_to(place.secret)


def hard_link(place: Place) -> None:
    (place.out / "trial.json").unlink()
    os.link(place.secret / "trial.json", place.out / "trial.json")


def fifo(place: Place) -> None:
    (place.out / "trial.json").unlink()
    os.mkfifo(place.out / "trial.json")


def planted_edit(place: Place) -> None:
    (place.out / "train.py").symlink_to(place.outside)


def link_among_outputs(place: Place) -> None:
    (place.out / "notes.json").symlink_to(place.secret / "trial.json")


# ── files that are too much ─────────────────────────────────────────────────────────────────────────────────────────


def sparse(place: Place) -> None:
    os.truncate(place.out / "trial.json", 50 << 30)


def brackets(place: Place) -> None:
    place.write("trial.json", "[" * 200_000)


def nested_folders(place: Place) -> None:
    here = os.open(place.out, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def locked_folder(place: Place) -> None:
    (place.out / "a" / "b").mkdir(parents=True)
    (place.out / "a" / "b" / "x").touch()
    os.chmod(place.out / "a", 0)


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def seconds(text: str, place: Place) -> None:
    place.trial(text)


def twice(place: Place) -> None:
    place.write("trial.json", json.dumps(TRIAL | {"status": "failed"})[:-1] + ', "status": "ok"}')


def unknown_key(place: Place) -> None:
    place.trial(verdict="better")


def truth_as_number(place: Place) -> None:
    place.trial(seed=True)


def bad_text(place: Place) -> None:
    place.write("trial.json", b'{"error": "\xff\xfe"}')


def own_metrics(place: Place) -> None:
    place.write("metrics.json", '{"accuracy": 1.0}')


# ── arrays and tensors ──────────────────────────────────────────────────────────────────────────────────────────────


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def pickled_model(place: Place) -> None:
    place.write("model.pt", pickle.dumps(Payload(place.shell)))
    (place.out / "weights.safetensors").unlink()


def pickle_in_disguise(place: Place) -> None:
    place.write("weights.safetensors", pickle.dumps(Payload(place.shell)))


def object_array(place: Place) -> None:
    np.savez(place.out / "logits.npz", logits=np.array([Payload(place.shell)], dtype=object))
    shutil.copy(place.out / "logits.npz", place.out / "logits.safetensors")


def array_bomb(place: Place) -> None:
    """8 GB by its header, of which a few zeros are there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1_000_000_000,)})
    path = place.out / "logits.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("logits.npy", "w") as file:
        file.write(header.getvalue())
        for _ in range(16):
            file.write(bytes(1 << 20))
    shutil.copy(place.out / "logits.npz", place.out / "logits.safetensors")


def giant_header(place: Place) -> None:
    with (place.out / "weights.safetensors").open("wb") as file:
        file.write((8 << 30).to_bytes(8, "little"))
        file.truncate(9 << 30)


def tensors(place: Place, data: int, **entries: tuple[list[int], list[int]]) -> None:
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": at} for name, (shape, at) in entries.items()}
    text = json.dumps(header).encode()
    place.write("weights.safetensors", len(text).to_bytes(8, "little") + text + bytes(data))


def overlapping(place: Place) -> None:
    tensors(place, 4, a=([1], [0, 4]), b=([1], [0, 4]))


def overflowing(place: Place) -> None:
    tensors(place, 0, a=([1 << 32, 1 << 32], [0, 0]))


# ── code that waits to be found ─────────────────────────────────────────────────────────────────────────────────────


def module(name: str, place: Place) -> None:
    place.write(name, place.python)


def user_site(place: Place) -> None:
    version = "{}.{}".format(*sys.version_info)
    place.write(f".local/lib/python{version}/site-packages/usercustomize.py", place.python)


def settings(place: Place) -> None:
    """A library to load with every program; where none can be compiled, a module to load with every Python."""
    compiler = shutil.which("cc")
    if compiler is None:
        place.write("sitecustomize.py", place.python)
        place.write(".env", f"PYTHONPATH={place.out}\n")
        return
    place.write(".env", f"LD_PRELOAD={place.out}/evil.so\n")
    code = f"""#include <stdlib.h>
__attribute__((constructor)) void f(void) {{ unsetenv("LD_PRELOAD"); if (system("{place.shell}")) {{}} }}"""
    words = [compiler, "-shared", "-fPIC", "-x", "c", "-o", str(place.out / "evil.so"), "-"]
    subprocess.run(words, input=code.encode(), check=True)


# ── repositories ────────────────────────────────────────────────────────────────────────────────────────────────────


def repository(folder: Path, *settings: str) -> None:
    """A repository with one commit of everything there, then `section.key=value` in its configuration."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "--template="], ["add", "--all"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    for setting in settings:
        subprocess.run([*git, "config", *setting.split("=", 1)], check=True)


def hook(place: Place) -> None:
    repository(place.out)
    place.write(".git/hooks/pre-commit", f"#!/bin/sh\n{place.shell}\n").chmod(0o755)


def monitor(place: Place) -> None:
    repository(place.out, f"core.fsmonitor={place.shell};")


def content_filter(place: Place) -> None:
    repository(place.out, f"filter.x.clean={place.shell}; cat")
    place.write(".gitattributes", "* filter=x\n")


def difference_program(place: Place) -> None:
    repository(place.out, f"diff.external={place.shell};")
    place.trial("1.6")


def nested_repository(place: Place) -> None:
    place.write("vendor/x", "x")
    repository(place.out / "vendor", f"core.fsmonitor={place.shell};")


# ── the log ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def sequences(place: Place) -> None:
    """Clears the screen, writes to the clipboard, turns the direction of the text around."""
    place.write("train.log", "loss 0.1\x1b[2J\x1b]52;c;cm0gLXJmIH4=\x07 \u202e%001 ycarucca\u202c\n")


# ── controls ────────────────────────────────────────────────────────────────────────────────────────────────────────


def ordinary(place: Place) -> None:
    pass


def with_checkpoints(place: Place) -> None:
    """What Trainer leaves behind, pickles and links included."""
    place.write("trainer/checkpoint-8/optimizer.pt", pickle.dumps({"state": {}}))
    (place.out / "trainer" / "last").symlink_to("checkpoint-8")


def failed(place: Place) -> None:
    place.trial(status="failed", error="ValueError: größer als π\t→ 3", traceback="a\n  b\n\x1b[31mred\x1b[0m")
    (place.out / "weights.safetensors").unlink()


WORKSPACES = (
    Workspace("link to labels", link, careless.reads_the_result, SECRET, ours.take_in, "symbolic link"),
    Workspace(
        "folder linked to labels",
        linked_folder,
        careless.reads_the_result_in_a_folder,
        SECRET,
        ours.take_in_a_folder,
        "cannot be read",
    ),
    Workspace("hard link to labels", hard_link, careless.reads_the_result, SECRET, ours.take_in, "2 names"),
    Workspace("FIFO", fifo, careless.reads_the_result, "hangs", ours.take_in, "not a regular file"),
    Workspace("50 GiB sparse file", sparse, careless.reads_the_result, "MemoryError", ours.take_in, "larger than"),
    Workspace(
        "200 000 brackets", brackets, careless.reads_the_result, "RecursionError", ours.take_in, "not strict JSON"
    ),
    Workspace("NaN", partial(seconds, "NaN"), careless.believes_the_seconds, "accepts nan", ours.take_in, "NaN is not"),
    Workspace(
        "1e999", partial(seconds, "1e999"), careless.believes_the_seconds, "accepts inf", ours.take_in, "out of range"
    ),
    Workspace("duplicate key", twice, careless.believes_the_status, "accepts 'ok'", ours.take_in, "a key occurs twice"),
    Workspace(
        "unknown key", unknown_key, careless.merges_the_result, "accepts 'better'", ours.take_in, "is not a known key"
    ),
    Workspace(
        "true as a number",
        truth_as_number,
        careless.looks_up_the_seed,
        "accepts 'trial 1'",
        ours.take_in,
        "'seed' is True",
    ),
    Workspace(
        "number of 20 000 digits",
        partial(seconds, "9" * 20_000),
        careless.believes_the_seconds,
        "ValueError",
        ours.take_in,
        "not strict JSON",
    ),
    Workspace("bad UTF-8", bad_text, careless.reads_the_result, "UnicodeDecodeError", ours.take_in, "not strict JSON"),
    Workspace("pickle in a .pt", pickled_model, careless.unpickles_the_model, CODE, ours.take_in, "is missing"),
    Workspace(
        "pickle called .safetensors",
        pickle_in_disguise,
        careless.falls_back_to_pickle,
        CODE,
        ours.take_in,
        "not a safetensors file",
    ),
    Workspace(
        "object array in a .npz",
        object_array,
        careless.loads_the_arrays,
        CODE,
        ours.take_in_logits,
        "not a safetensors file",
    ),
    Workspace(
        "small .npz of 8 GB",
        array_bomb,
        careless.loads_the_arrays,
        "MemoryError",
        ours.take_in_logits,
        "not a safetensors file",
    ),
    Workspace(
        "safetensors: giant header",
        giant_header,
        careless.reads_tensors_by_hand,
        "MemoryError",
        ours.take_in,
        "larger than",
    ),
    Workspace(
        "safetensors: overlapping offsets",
        overlapping,
        careless.reads_tensors_by_hand,
        "accepts {'a': [1], 'b': [1]}",
        ours.take_in,
        "takes the bytes",
    ),
    Workspace(
        "safetensors: shape overflow",
        overflowing,
        careless.reads_tensors_by_hand,
        "accepts {'a': [4294967296, 4294967296]}",
        ours.take_in,
        "takes the bytes",
    ),
    Workspace(
        "json.py",
        partial(module, "json.py"),
        careless.runs_python_there,
        CODE,
        ours.start_the_next_job,
        "=ok: kd",
    ),
    Workspace(
        "sitecustomize.py",
        partial(module, "sitecustomize.py"),
        careless.puts_it_on_the_path,
        CODE,
        ours.start_the_next_job,
        "=ok: kd",
    ),
    Workspace("usercustomize.py", user_site, careless.makes_it_the_home, CODE, ours.start_the_next_job, "=ok: kd"),
    Workspace(
        "conftest.py", partial(module, "conftest.py"), careless.tests_it, CODE, ours.start_the_next_job, "=ok: kd"
    ),
    Workspace(".env with LD_PRELOAD", settings, careless.reads_its_settings, CODE, ours.start_the_next_job, "=ok: kd"),
    Workspace("git: hook", hook, careless.commits_there, CODE, ours.keep_the_edit, "=7 lines differ"),
    Workspace("git: fsmonitor", monitor, careless.asks_git_what_changed, CODE, ours.keep_the_edit, "=7 lines differ"),
    Workspace("git: filter", content_filter, careless.adds_all_to_git, CODE, ours.keep_the_edit, "=7 lines differ"),
    Workspace(
        "git: external diff",
        difference_program,
        careless.shows_the_difference,
        CODE,
        ours.keep_the_edit,
        "=7 lines differ",
    ),
    Workspace(
        "git: nested repository",
        nested_repository,
        careless.makes_a_repository_around_it,
        CODE,
        ours.keep_the_edit,
        "=7 lines differ",
    ),
    Workspace(
        "link in place of the next edit",
        planted_edit,
        careless.writes_the_next_edit,
        OUTSIDE,
        ours.keep_the_edit,
        "=7 lines differ",
    ),
    Workspace("link among copied outputs", link_among_outputs, careless.copies_everything, SECRET, ours.take_in, "=ok"),
    Workspace(
        "metrics.json claims 1.0",
        own_metrics,
        careless.believes_the_metrics,
        "accepts 1.0",
        ours.measure_accuracy,
        "=accuracy 0.5",
    ),
    Workspace(
        "terminal sequences in a log", sequences, careless.prints_the_log, TERMINAL, ours.show_the_log, "=ok: loss"
    ),
    Workspace("locked folders", locked_folder, careless.removes_it, "PermissionError", ours.remove, "=removed", True),
    Workspace("3000 nested folders", nested_folders, careless.measures_it, "RecursionError", ours.remove, "=removed"),
)
CONTROLS = (
    Workspace("control: an ordinary trial", ordinary, careless.reads_the_result, "", ours.take_in, "=ok"),
    Workspace("control: checkpoints beside it", with_checkpoints, careless.reads_the_result, "", ours.take_in, "=ok"),
    Workspace("control: a trial that failed", failed, careless.reads_the_result, "", ours.take_in, "=failed"),
)
