"""Checkpoints of a training: Trainer's own files, what we had counted until then, and a manifest, written last.

Trainer writes its files one after another. It continues from a checkpoint that lost its optimizer, silently and
with other weights, and breaks on one that was cut short. So a checkpoint counts only where every file is the one that
its manifest names.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

MANIFEST, COUNTS = "manifest.json", "counts.safetensors"


def every(steps: int, count: int, logged: int) -> int:
    """Steps between two checkpoints, `count` in a training at most; 0 for none.

    A multiple of the steps between two log lines: Trainer forgets the losses that it has not logged yet.
    """
    return -(-steps // ((count + 1) * logged)) * logged if count else 0


def newest(folder: Path) -> str | None:
    """The newest checkpoint in `folder` that is whole and was made as this process computes; later ones are deleted."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step, reverse=True):
        if _is_whole(checkpoint):
            return str(checkpoint)
        shutil.rmtree(checkpoint)
    return None


def step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def finish(checkpoint: Path, counts: dict) -> None:
    """Add our own counts, JSON values or tensors by name, to what Trainer has written, and then the manifest."""
    tensors = {name: value.cpu() for name, value in counts.items() if isinstance(value, torch.Tensor)}
    plain = {name: value for name, value in counts.items() if name not in tensors}
    save_file(tensors, checkpoint / COUNTS, metadata={"plain": json.dumps(plain)})
    part = checkpoint / "manifest.part"
    text = json.dumps(_manifest(checkpoint), indent=1)
    with part.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(checkpoint / MANIFEST)


def counts(checkpoint: Path) -> dict:
    """What `finish` was given."""
    with safe_open(checkpoint / COUNTS, "pt") as stored:
        plain = json.loads(stored.metadata()["plain"])
    return plain | load_file(checkpoint / COUNTS)


def _is_whole(checkpoint: Path) -> bool:
    try:
        return json.loads((checkpoint / MANIFEST).read_text()) == _manifest(checkpoint)
    except (OSError, ValueError):
        return False


def _manifest(checkpoint: Path) -> dict:
    """Every file by its hash, and what else the next step's bits depend on."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return {
        "schema": 3,  # another one when something else is counted: nobody could count on from older checkpoints
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "files": {str(path.relative_to(checkpoint)): _sha256(path) for path in files},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
