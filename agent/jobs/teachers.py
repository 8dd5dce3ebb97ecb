"""Teachers and assistants: where their weights lie, and their hashes."""

import hashlib
from pathlib import Path
from typing import Any

from agent import config
from agent.cache.keys import copied, digest
from agent.plan.plan import Plan, Track
from agent.record.files import file_hash

ASSISTANT_FILE = config.TRAIN_FILES / "kd.py"


FEATURE_CACHE = 1 << 30  # bytes; a larger cache of teacher features would cost more than running the teacher


def _dev(data: Path) -> dict[str, str]:
    """Where the dev rows and their labels lie."""
    return {"inputs": str(data / "held" / "dev.safetensors"), "labels": str(data / "labels" / "dev.safetensors")}


def taught_by(track: Track, facts: dict[str, Any], teacher: str) -> Path:
    """The cache folder of what teaches the idea's student: the teacher's own or, beside it, its assistant's."""
    folder = Path(teacher)
    if not track.assistant:
        return folder
    identity = {
        "teacher": folder.name,
        "model": [track.assistant.model_dump(), copied(facts, "assistant")],
        "training": track.assistant_training.model_dump(),
        "method": (track.method.temperature, track.method.alpha),
        "file": ASSISTANT_FILE.read_text(),
    }
    return folder.with_name(digest([identity]))


def teacher_hashes(plan: Plan, facts: dict[str, Any], folders: dict[str, str]) -> dict[str, str]:
    """SHA-256 of the weights of each track's teacher, or over those of all its teachers, its assistant among them."""
    return {name: _weights_hash(plan.track(name), facts[name], folder) for name, folder in folders.items()}


def _weights_hash(track: Track, facts: dict[str, Any], teacher: str) -> str:
    folder = Path(teacher)
    others = (folder / f"teacher-{number}" for number in range(1, track.method.teachers))
    assistants = (taught_by(track, facts, teacher),) if track.assistant else ()
    found = [file_hash(place / "weights.safetensors") for place in (folder, *others, *assistants)]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _view(facts: dict[str, Any], who: str) -> Path:
    """Where the rows lie as that model reads them."""
    data = Path(facts["folder"])
    return data / "teacher" if who == "teacher" and facts.get("apart") else data
