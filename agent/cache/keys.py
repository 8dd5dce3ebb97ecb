"""The keys of the cache: digests of everything that decides what an entry contains."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent import config
from agent.plan.plan import Track
from agent.record.prepared import Prepared


def data_key(job: Mapping[str, object], source: Mapping[str, object], checkpoints: Iterable[str]) -> str:
    """The cache folder of prepared rows. Files that changed under their old names give different rows."""
    files = [_files(source), *(_stamps(Path(checkpoint)) for checkpoint in checkpoints)]
    return digest([job, files, versions()])


def teacher_key(track: Track, prepared: Prepared, train_file: str) -> str:
    """The cache folder of a teacher, named by all that its weights follow from, including the labels it learns."""
    identity = {
        "data": track.task.encoded,
        "labels": [prepared.files[name] for name in ("seen/train.safetensors", "labels/transfer.safetensors")],
        "input": track.task.input_size,
        "model": [track.teacher.model_dump(), prepared.copied("teacher")],
        "training": track.teacher_training.model_dump(),
        "threads": track.threads,
        "file": train_file,
    }
    return digest([identity, versions(), prepared.task.model_dump(mode="json")])


def versions() -> dict[str, str]:
    """The libraries and our own code, which also decide about prepared rows and teachers. Part of every cache key."""
    names = ("torch", "transformers", "datasets", "scipy", "scikit-learn", "tokenizers")
    return {name: version(name) for name in names} | {"baselines": training_code()}


def training_code() -> str:
    """Hash of our own code that prepares, trains and predicts, and of the cards that it reads."""
    folder = config.ROOT / "baselines"
    sources = sorted(path for kind in ("*.py", "*.toml") for path in folder.rglob(kind))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _files(source: Mapping[str, object]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file a source may read, so that changed data are prepared again."""
    root = Path(str(source.get("data") or source.get("data_dir") or ""))
    name = config.cards(config.TASKS).get(str(source["name"]), {}).get("texts", source["name"])
    if source.get("data_dir") and (root / name).is_dir():
        root = root / name
    if not (source.get("data") or source.get("data_dir")):
        return []
    return _stamps(root)


def _stamps(root: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of a file, or of every file in a folder, whose folders are labels of images."""
    if root.is_file():
        return [(root.name, root.stat().st_size, root.stat().st_mtime_ns)]
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def digest(identity: Any) -> str:
    """The name in the cache of what follows from `identity`, and from nothing else."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]
