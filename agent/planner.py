"""From an idea to a plan: defaults of the scale, then the model's proposal, then the user's own values, which win.

Every field remembers which of the three it came from. Nothing is frozen before the data were looked at: rows, labels
and the content hash in a plan are those of the prepared data, not of a wish.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent import config
from agent.errors import PlanError, UsageError
from agent.options import Options
from agent.plan import Origin, Plan, Proposal

LONGEST_IDEA = 4000  # characters
TRAINING_FIELDS = (
    "learning_rate",
    "batch_size",
    "epochs",
    "optimizer",
    "schedule",
    "warmup",
    "weight_decay",
    "precision",
    "accumulation",
    "max_grad_norm",
)
METHOD_FIELDS = ("temperature", "alpha", "beta", "layers", "layer_map", "signal", "norm", "init_layers")
SIZE_FIELDS = ("train_rows", "transfer_rows", "dev_rows", "test_rows")
PLAN_FIELDS = ("primary_metric", "least_effect", "level", "benchmark")


@dataclass
class Draft:
    """A plan in the making: plain values, and where each came from."""

    values: dict[str, Any]
    origins: dict[str, Origin]

    def put(self, path: str, value: Any, origin: Origin) -> None:
        """Set a dotted path. Raises PlanError when the plan has no such field."""
        *parents, last = path.split(".")
        place = self.values
        for name in parents:
            place = place[name]
        if last not in place:
            raise PlanError(f"the plan has no field {path!r}", f"fields here: {', '.join(sorted(place))}")
        place[last] = value
        self.origins[path] = origin

    def value(self, path: str) -> Any:
        place: Any = self.values
        for name in path.split("."):
            place = place[name]
        return place


def check_idea(idea: str) -> str:
    """The idea, trimmed. Raises UsageError for an empty one or one that is no sentence any more."""
    trimmed = idea.strip()
    if not trimmed:
        raise UsageError(
            "the idea is empty", 'say what to try, for example: kdagent run "efficient KD for small models"'
        )
    if len(trimmed) > LONGEST_IDEA:
        raise UsageError(
            f"the idea has {len(trimmed):,} characters, {LONGEST_IDEA:,} are the most", "say it in a few sentences"
        )
    return trimmed


def tracks(options: Options) -> list[str]:
    """Names of the tracks. Raises UsageError for a task nobody knows."""
    if options.data:
        return [Path(options.data).stem.lower().replace(" ", "_").replace(".", "_") or "own"]
    known = config.cards(config.TASKS)
    for name in options.tasks:
        if name not in known:
            raise UsageError(f"unknown task {name!r}", f"known: {', '.join(known)}; or --data for your own")
    return list(options.tasks) or list(config.cards(config.SCALES)[options.scale]["tracks"])


def draft(options: Options) -> Draft:
    """The scale's defaults with the user's values on top, before any model was asked.

    Raises PlanError or UsageError for what the user got wrong, so that nothing is spent on it.
    """
    scale = config.cards(config.SCALES)[options.scale]
    values: dict[str, Any] = {
        "tracks": {name: _preset(options, scale, name) for name in tracks(options)},
        "seeds": list(options.seeds or scale["seeds"]),
        "attempts": options.attempts,
        "budget": {
            "seconds": options.seconds or scale["seconds"],
            "trial_seconds": scale["trial_seconds"],
            "memory_mb": scale["memory_mb"],
            "disk_mb": 4096,
            "tokens": options.tokens or 200_000,
        },
        "primary_metric": "accuracy",
        "least_effect": 0.005,
        "level": 0.05,
        "benchmark": "",
    }
    made = Draft(values, {})
    for path, given in (
        ("seeds", options.seeds),
        ("budget.seconds", options.seconds),
        ("budget.tokens", options.tokens),
    ):
        if given:
            made.origins[path] = "user"
    if options.attempts != 1:
        made.origins["attempts"] = "user"
    if options.method:
        _check_method(options.method)
        put_everywhere(made, "method.name", options.method, "user")
    for path, value in options.values.items():
        put_everywhere(made, path, value, "user")
    freeze(made, options, _SILENT, {})  # a first look: wrong values are refused here, before any work
    return made


def _check_method(name: str) -> None:
    known = config.cards(config.METHODS)
    if name not in known:
        raise UsageError(f"unknown method {name!r}", f"known: {', '.join(known)}")


def _preset(options: Options, scale: dict[str, Any], name: str) -> dict[str, Any]:
    """Settings of one track: its own at this scale, or those of the scale's task of the same kind."""
    if name in scale and not options.data:
        preset = copy.deepcopy(scale[name])
    else:
        kind = kind_of(Path(options.data)) if options.data else config.cards(config.TASKS)[name]["kind"]
        known = config.cards(config.TASKS)
        preset = copy.deepcopy(next(scale[other] for other in scale["tracks"] if known[other]["kind"] == kind))
        preset["input_size"] = 32 if kind == "image" else max(preset["input_size"], 64)
        if options.data:
            preset["sizes"] = {"train_rows": 0, "transfer_rows": 0, "dev_rows": 500, "test_rows": 0}
    empty = {"checkpoint": "", "revision": "", "heads": 0, "blocks": [], "bottleneck": False, "stem": ""}
    training = {
        "optimizer": "adamw",
        "schedule": "linear",
        "warmup": 0.06,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "accumulation": 1,
        "precision": "fp32",
    }
    method = {"name": "kd_selective", "layer_map": "last", "signal": "hidden", "norm": "layer", "init_layers": "none"}
    return {
        "input_size": preset["input_size"],
        "threads": preset["threads"],
        "data_seed": 0,
        "sizes": preset["sizes"],
        "teacher": empty | preset["teacher"],
        "teacher_training": training | preset["teacher_training"],
        "student": empty | preset["student"],
        "training": training | preset["training"],
        "method": method | preset["method"],
    }


def kind_of(path: Path) -> str:
    """`image` or `text`, from the look of a user's own data. Raises UsageError when there is nothing to look at."""
    if not path.exists():
        raise UsageError(f"data {path} does not exist", "check --data")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    tables = [file for file in files if file.suffix in (".csv", ".parquet")]
    if not tables:
        if not any(file.is_file() for file in files):
            raise UsageError(f"data {path} is empty", "put a CSV or parquet file, or an image folder there")
        return "image"
    if tables[0].suffix == ".csv":
        return "text"
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        names = read_schema(tables[0]).names
    except (ArrowException, OSError) as error:
        raise UsageError(f"cannot read {tables[0].name}: {str(error).splitlines()[0]}", "is the file whole?") from error
    return "image" if {"image", "img", "pixels"} & set(names) else "text"


def put_everywhere(made: Draft, path: str, value: Any, origin: Origin) -> None:
    """Set a field by its short path, for one track (`ag_news.training.epochs`) or for all (`epochs`)."""
    if path in PLAN_FIELDS or path.startswith("budget."):
        return made.put(path, value, origin)
    first, _, rest = path.partition(".")
    names = [first] if first in made.values["tracks"] and rest else list(made.values["tracks"])
    field = _full(rest if names == [first] and rest else path)
    for name in names:
        made.put(f"tracks.{name}.{field}", value, origin)
    return None


def _full(path: str) -> str:
    """`epochs` is short for `training.epochs`, `temperature` for `method.temperature`, and so on."""
    for folder, fields in (("training", TRAINING_FIELDS), ("method", METHOD_FIELDS), ("sizes", SIZE_FIELDS)):
        if path in fields:
            return f"{folder}.{path}"
    return path.replace("task.", "sizes.", 1) if path.startswith("task.") else path


def merge(made: Draft, proposal: Proposal) -> None:
    """Let a model's proposal replace defaults. What the user fixed stays."""
    said = proposal.model_dump(exclude_none=True, exclude={"title", "objective", "hypothesis", "methodology"})
    for name, value in said.items():
        field = "method.name" if name == "method" else _full(name)
        for track in made.values["tracks"]:
            path = f"tracks.{track}.{field}"
            if made.origins.get(path) != "user":
                made.put(path, value, "model")


_SILENT = Proposal(title="untitled", objective="unset", hypothesis="unset", methodology="unset", method="kd")


def freeze(made: Draft, options: Options, proposal: Proposal, facts: dict[str, Any]) -> Plan:
    """The plan. `facts` are those of the prepared data, per track; without them sizes are the wished ones."""
    names = made.values["tracks"]
    values = {k: made.values[k] for k in ("seeds", "attempts", "budget", "primary_metric", "least_effect", "level")}
    records = {name: _track(name, settings, facts.get(name)) for name, settings in names.items()}
    methods = {settings["method"]["name"] for settings in names.values()}
    transfer = any(record["task"]["transfer_rows"] for record in records.values())
    arms = ["student_only", "vanilla_kd", *(["pseudo_label", "all_labels"] if transfer else [])]
    benchmark = made.values["benchmark"] or ("vanilla_kd" if methods == {"kd_selective"} else "student_only")
    if benchmark not in arms:
        raise PlanError(f"benchmark {benchmark!r} is no reference arm", f"reference arms: {', '.join(arms)}")
    try:
        return Plan.model_validate(
            {
                "schema": 1,
                "idea": options.idea,
                "scale": options.scale,
                "tracks": list(records.values()),
                **proposal.model_dump(include={"title", "objective", "hypothesis", "methodology"}),
                "reference_arms": arms,
                "benchmark": benchmark,
                "provenance": _provenance(made, records),
                **values,
            }
        )
    except ValidationError as error:
        raise PlanError(*_first(error, list(records))) from error


def _track(name: str, settings: dict[str, Any], facts: dict[str, Any] | None) -> dict[str, Any]:
    rows = facts["rows"] if facts else {size[:-5]: max(1, settings["sizes"][size]) for size in SIZE_FIELDS}
    task = {
        "name": name,
        "kind": facts["task"]["kind"] if facts else "text",
        "source": facts["source"] if facts else "",
        "revision": facts["revision"] if facts else "",
        "labels": facts["task"]["labels"] if facts else [],
        "hash": facts["hash"] if facts else "",
        "train_rows": rows["train"],
        "transfer_rows": rows["transfer"] if facts else settings["sizes"]["transfer_rows"],
        "dev_rows": rows["dev"],
        "test_rows": rows["test"],
        "input_size": settings["input_size"],
        "data_seed": settings["data_seed"],
    }
    kept = ("teacher", "teacher_training", "student", "training", "method", "threads")
    return {"name": name, "task": task} | {key: settings[key] for key in kept}


def _provenance(made: Draft, records: dict[str, Any]) -> dict[str, Origin]:
    """Every leaf of the plan that a setting decided, with its origin; what nobody touched is a default."""
    origins: dict[str, Origin] = {}
    for name, record in records.items():
        for part in ("teacher", "teacher_training", "student", "training", "method"):
            for field in record[part]:
                path = f"tracks.{name}.{part}.{field}"
                origins[path] = made.origins.get(path, "default")
        for size in SIZE_FIELDS:
            origins[f"tracks.{name}.task.{size}"] = made.origins.get(f"tracks.{name}.sizes.{size}", "default")
        for field in ("input_size", "threads"):
            origins[f"tracks.{name}.{field}"] = made.origins.get(f"tracks.{name}.{field}", "default")
    for path in ("seeds", "attempts", *PLAN_FIELDS, *(f"budget.{name}" for name in made.values["budget"])):
        origins[path] = made.origins.get(path, "default")
    return origins


def _first(error: ValidationError, names: list[str]) -> tuple[str, str]:
    """One line for the first thing wrong: which field, which value, what is allowed."""
    found = error.errors()[0]
    where = [str(part) for part in found["loc"]]
    if where[0] == "tracks" and len(where) > 2:
        where = [names[int(where[1])], *where[2:]]
    return f"{'.'.join(where)} = {found['input']!r}: {found['msg'].lower()}", "`kdagent run --help` shows how to set it"
