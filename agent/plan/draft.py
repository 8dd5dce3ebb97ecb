"""A plan in the making: values and who set them."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from agent.errors import PlanError
from agent.plan.method import Method
from agent.plan.plan import Origin, Plan, Track, Training

TRAINING_FIELDS = tuple(Training.model_fields)
METHOD_FIELDS = tuple(name for name in Method.model_fields if name != "name")
SIZE_FIELDS = ("train_rows", "transfer_rows", "generated_rows", "dev_rows", "test_rows")
PLAN_FIELDS = ("seeds", "attempts", "primary_metric", "least_effect", "level", "benchmark")
OURS = "kd_selective"
"""The method of the scales, and of an idea that names none."""
VIEWS = ["views", "mirror"]
TASK_FIELDS = ("input_size", "label_noise", *VIEWS)
"""Fields of a plan's task that stand beside it in a draft."""


FROM_CHECKPOINT = {"layers": 0, "width": 0, "learning_rate": 5e-5}
"""A generator's settings where it starts from a checkpoint: its sizes, and a rate at which it does not forget."""
ASSISTANT = {"layers": 0, "width": 0, "checkpoint": "", "revision": ""}
"""Fields of an assistant that may be set; otherwise it is like its teacher; a size of 0 is halfway to the student's."""
TRACK_PARTS = ("teacher", "teacher_training", "student", "training", "method", "threads")


TrackDraft = dict[str, Any]  # any: a tree of plain values, of any field until it is frozen
"""The settings of one track in the making."""


@dataclass
class Draft:
    """A plan in the making: plain values, and where each came from."""

    values: dict[str, Any]  # any: a tree of plain values, of any field until it is frozen
    origins: dict[str, Origin]
    recorded: dict[str, Track] = field(default_factory=dict)
    """Of a replay: each track as it was planned, whose method gives the defaults in the place of its card."""

    def put(self, path: str, value: Any, origin: Origin) -> None:
        """Set a dotted path. Raises PlanError when the plan has no such field, or when it is a group of fields."""
        *parents, last = path.split(".")
        place: Any = self.values
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        shown = path.removeprefix("tracks.")
        if not isinstance(place, dict) or last not in place:
            raise PlanError(f"the plan has no field {shown!r:.80}", _meant(last))
        if isinstance(place[last], dict):
            raise PlanError(f"{shown} is a group of fields", f"name one of them: {', '.join(place[last])}")
        place[last] = value
        self.origins[path] = origin

    def value(self, path: str) -> Any:
        place: Any = self.values
        for name in path.split("."):
            place = place[name]
        return place


def _meant(name: str) -> str:
    """The field that may have been meant, or all the common ones."""
    known = (
        *METHOD_FIELDS,
        *TRAINING_FIELDS,
        *SIZE_FIELDS,
        *PLAN_FIELDS,
        "input_size",
        "data_seed",
        "label_noise",
        "views",
        "mirror",
        "threads",
    )
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"common fields: {', '.join(known)}"


def put_recorded(made: Draft, plan: Plan) -> None:
    """Puts a recorded plan's defaults in the place of today's; they stay defaults."""
    made.recorded = {track.name: track for track in plan.tracks}
    for path, origin in plan.provenance.items():
        place, value = path, _recorded(plan, path)
        for name in SIZE_FIELDS:
            place = place.replace(f".task.{name}", f".sizes.{name}")
        *parents, last = place.split(".")
        found: Any = made.values
        for name in parents:
            found = found.get(name) if isinstance(found, dict) else None
        there = isinstance(found, dict) and last in found
        if origin == "default" and value is not None and there and (found[last] or "sizes" not in parents):
            found[last] = value  # a size of 0 goes on to mean all that there are


def _recorded(plan: Plan, path: str) -> object:
    """The value of a provenance's path; None where it is not a plain field of the plan."""
    first, *rest = path.split(".")
    place: Any = plan
    if first == "tracks":
        place, rest = plan.track(rest[0]), rest[1:]
        rest = ["task", *rest] if rest[0] in TASK_FIELDS else rest
    elif first == "budget":
        place = plan.budget
    else:
        rest = [first] if first != "benchmark" else []
    if not rest or rest[0] == "assistant":
        return None
    for name in rest:
        place = getattr(place, name, None)
    return list(place) if isinstance(place, tuple) else place


def put_everywhere(made: Draft, path: str, value: Any, origin: Origin) -> None:
    """Set a field by its short path, for one track (`ag_news.training.epochs`) or for all (`epochs`)."""
    first, _, rest = path.partition(".")
    if path in PLAN_FIELDS or first == "budget":
        made.put(path, value, origin)
    elif first in made.values["tracks"] and rest:
        made.put(f"tracks.{first}.{full_path(rest)}", value, origin)
    else:
        for name in made.values["tracks"]:
            made.put(f"tracks.{name}.{full_path(path)}", value, origin)


def full_path(path: str) -> str:
    """`epochs` is short for `training.epochs`, `temperature` for `method.temperature`, and so on."""
    for folder, fields in (("training", TRAINING_FIELDS), ("method", METHOD_FIELDS), ("sizes", SIZE_FIELDS)):
        if path in fields:
            return f"{folder}.{path}"
    return path.replace("task.", "sizes.", 1) if path.startswith("task.") else path
