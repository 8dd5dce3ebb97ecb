"""The model between teacher and student, where a method has one."""

from typing import Any

from agent.plan.cards import cards
from agent.plan.draft import TrackDraft


def assistant(settings: TrackDraft) -> dict[str, object] | None:
    """The model between teacher and student, where the track's method has one: built like the teacher, and as deep and
    as wide as the user set, or halfway between the two."""
    name, teacher, student = settings["method"]["name"], settings["teacher"], settings["student"]
    sizes = (model[size] for model in (teacher, student) for size in ("layers", "width", "heads"))
    if name not in cards() or not cards()[name].assistant:
        return None
    if not all(isinstance(size, int | float) for size in sizes):
        return None  # a value that is not a number is refused elsewhere
    said, halfway = settings["assistant"], _halfway(teacher, student)
    made: dict[str, object] = teacher | said | {size: said[size] or usual for size, usual in halfway.items()}
    return made


def _halfway(teacher: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    """Layers of transformers are counted alike, and widths of one family; else half the teacher's width stands in. The
    teacher's heads divide the width."""
    transformers = teacher["heads"] and student["heads"]
    alike = transformers or teacher["architecture"] == student["architecture"]
    heads = max(1, teacher["heads"])
    width = (teacher["width"] + student["width"] if alike else teacher["width"]) / 2
    layers = -(-(teacher["layers"] + student["layers"]) // 2) if transformers else teacher["layers"]
    return {"layers": layers, "width": max(1, round(width / heads)) * heads}
