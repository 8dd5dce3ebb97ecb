"""From an idea to a plan: defaults of the scale, then the model's proposal, then the user's own values, which win.

Every field remembers which of the three it came from. Nothing is frozen before the data were looked at: rows, labels
and the content hash in a plan are those of the prepared data, not of a wish.
"""

import copy
import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent import config
from agent.cards import NOUNS, cards
from agent.errors import PlanError, UsageError
from agent.options import Options
from agent.pace import LONG, Pace
from agent.plan import FIRST, Generator, Method, Origin, Plan, Proposal, Track, written

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
    "compiled",
    "accumulation",
    "max_grad_norm",
)
METHOD_FIELDS = tuple(name for name in Method.model_fields if name != "name")
SIZE_FIELDS = ("train_rows", "transfer_rows", "generated_rows", "dev_rows", "test_rows")
PLAN_FIELDS = ("seeds", "attempts", "primary_metric", "least_effect", "level", "benchmark")
OURS, SCALED = "kd_selective", ("kd_selective", "kd", "assistant", "finetune")
"""The scales' own method, and the methods that their settings are for."""
VIEWS = ["views", "mirror"]
WIDE = {"bert": 256, "distilbert": 256, "roberta": 256, "resnet": 64}
"""Models of these widths and more train faster in bf16 where a processor multiplies in it, and as well; much narrower
ones do not, nor does MobileNetV2: `make bench-precision`."""
FROM_CHECKPOINT = {"layers": 0, "width": 0, "learning_rate": 5e-5}
"""A generator's settings where it starts from a checkpoint: its sizes, and a rate that leaves it what it knows."""
ASSISTANT = {"layers": 0, "width": 0, "checkpoint": "", "revision": ""}
"""What may be said of an assistant, which else is built like its teacher; a size of 0 is halfway to the student's."""
TRACK_PARTS = ("teacher", "teacher_training", "student", "training", "method", "threads")


@dataclass
class Draft:
    """A plan in the making: plain values, and where each came from."""

    values: dict[str, Any]
    origins: dict[str, Origin]

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


def check_idea(idea: str) -> str:
    """The idea on one line. Raises UsageError for an empty one or one that is no sentence any more."""
    sentence = " ".join(idea.split())
    if not sentence:
        example = 'kdagent run "efficient KD for small models"'
        raise UsageError("the idea is empty", f"say what to try, for example: {example}")
    if len(sentence) > LONGEST_IDEA:
        problem = f"the idea has {len(sentence):,} characters, {LONGEST_IDEA:,} are the most"
        raise UsageError(problem, "say it in a few sentences")
    for position, sign in enumerate(sentence, start=1):
        if unicodedata.category(sign) in ("Cc", "Cs"):  # control characters; bytes that are no UTF-8
            raise UsageError(f"the idea holds {sign!r} at character {position}", "write it as plain text in UTF-8")
    return sentence


def tracks(options: Options) -> list[str]:
    """Names of the tracks. Raises UsageError for a task nobody knows."""
    if options.data:
        return [re.sub(r"\W+", "_", Path(options.data).stem.lower())[:40].strip("_") or "own"]
    known = config.cards(config.TASKS)
    for name in options.tasks:
        if name not in known:
            raise UsageError(f"unknown task {name!r:.80}", f"known: {', '.join(known)}; or --data for your own")
    return list(options.tasks) or list(_scale(options)["tracks"])


def _scale(options: Options) -> dict[str, Any]:
    """The defaults of the wanted scale. Raises UsageError for one there is not."""
    scales = config.cards(config.SCALES)
    if options.scale not in scales:
        raise UsageError(f"unknown scale {options.scale!r:.80}", f"known: {', '.join(scales)}")
    found: dict[str, Any] = scales[options.scale]
    return found


def draft(options: Options) -> Draft:
    """The scale's defaults with the user's values on top, before any model was asked.

    Raises PlanError or UsageError for what the user got wrong, so that nothing is spent on it.
    """
    scale = _scale(options)
    values: dict[str, Any] = {
        "tracks": {name: _preset(options, scale, name) for name in tracks(options)},
        "seeds": scale["seeds"],
        "attempts": 1,
        "budget": {
            "seconds": scale["seconds"],
            "trial_seconds": scale["trial_seconds"],
            "memory_mb": scale["memory_mb"],
            "disk_mb": scale["disk_mb"],
            "checkpoints": scale["checkpoints"],
            "tokens": 200_000,
        },
        "primary_metric": "accuracy",
        "least_effect": 0.005,
        "level": 0.05,
        "benchmark": "",
    }
    made = Draft(values, {})
    for path, value in options.values.items():
        put_everywhere(made, path, value, "user")
    _provide(made)
    if options.bf16:
        _cast(made)
    _settle(made, freeze(made, options, _SILENT, {}))  # wrong values are refused here, before any work
    _enough(made)
    return made


def _provide(made: Draft) -> None:
    """Defaults that follow from a choice: generated rows for a method that is about them, a generator as its checkpoint
    is, no heads in a bilstm."""
    for name, settings in made.values["tracks"].items():
        method, start = settings["method"]["name"], f"tracks.{name}"
        if made.origins.get(f"{start}.sizes.generated_rows") != "user":
            settings["sizes"]["generated_rows"] = cards()[method].generated if method in cards() else 0
        if settings["generator"]["checkpoint"]:
            own = {n: v for n, v in FROM_CHECKPOINT.items() if f"{start}.generator.{n}" not in made.origins}
            settings["generator"] |= own
        if settings["student"]["architecture"] == "bilstm" and f"{start}.student.heads" not in made.origins:
            settings["student"]["heads"] = 0


def _cast(made: Draft) -> None:
    """Wide models train in bf16, unless the user says otherwise."""
    for name, settings in made.values["tracks"].items():
        for who, training in (("teacher", "teacher_training"), ("student", "training")):
            architecture, width = settings[who]["architecture"], settings[who]["width"]
            wide = architecture in WIDE and isinstance(width, int | float) and width >= WIDE[architecture]
            if wide and f"tracks.{name}.{training}.precision" not in made.origins:
                settings[training]["precision"] = "bf16"


def open_to_compiling(made: Draft, plan: Plan) -> list[Track]:
    """Tracks of which it must be measured what compiling the student does: the user wants it, or has left it open where
    a trial has many steps."""
    said = {track.name: made.origins.get(_compiled(track.name)) for track in plan.tracks}
    return [track for track in plan.tracks if track.training.compiled or (not said[track.name] and track.steps >= LONG)]


def compile_where_it_pays(made: Draft, plan: Plan, paces: dict[str, Pace]) -> None:
    """Settles what the user left open. Raises PlanError where compiling is wanted and cannot be done."""
    for name, pace in paces.items():
        path, track = _compiled(name), plan.track(name)
        if path not in made.origins:
            made.values["tracks"][name]["training"]["compiled"] = pace.pays(track.steps)
        elif pace.problem:
            shown = path.removeprefix("tracks.")
            raise PlanError(f"{shown} = True: {pace.problem}", f"train it as it is: --set {shown}=false")


def _compiled(track: str) -> str:
    return f"tracks.{track}.training.compiled"


def _enough(made: Draft) -> None:
    """Raises PlanError where fewer texts are to be drawn than rows are to be generated, or the only view mirrored."""
    for name, settings in made.values["tracks"].items():
        if f"tracks.{name}.mirror" in made.origins and settings["views"] == 1:
            raise PlanError(f"{name}: an image's first view is never mirrored", "ask for more of them: --set views=8")
        wanted, drawn = settings["sizes"]["generated_rows"], settings["generator"]["samples"]
        if wanted > drawn:
            problem = f"{name}: {wanted:,} generated rows cannot come from {drawn:,} samples"
            raise PlanError(problem, f"filters leave some out: --set generator.samples={2 * wanted}")


def _settle(made: Draft, plan: Plan) -> None:
    """Values as the plan reads them (64.0 rows are 64): data are prepared from the draft."""
    for name, settings in made.values["tracks"].items():
        track = plan.track(name)
        settings |= track.model_dump(include={*TRACK_PARTS, *(["generator"] if track.generator else [])})
        settings["sizes"] = {size: value and getattr(track.task, size) for size, value in settings["sizes"].items()}
        settings |= track.task.model_dump(include={"input_size", "data_seed", "label_noise", "views", "mirror"})
    made.values["budget"] = plan.budget.model_dump()


def _preset(options: Options, scale: dict[str, Any], name: str) -> dict[str, Any]:
    """Settings of one track: its own at this scale, or those of the scale's task of the same kind."""
    if name in scale and not options.data:
        preset = copy.deepcopy(scale[name])
    else:
        kind, known = _kind(options, name), config.cards(config.TASKS)
        preset = copy.deepcopy(next(scale[other] for other in known if other in scale and known[other]["kind"] == kind))
        if kind != "language":
            preset["input_size"] = 32 if kind == "image" else max(preset["input_size"], 64)
        if options.data:
            preset["sizes"] = {"train_rows": 0, "transfer_rows": 0, "dev_rows": 500, "test_rows": 0}
    empty = {
        "checkpoint": "",
        "revision": "",
        "heads": 0,
        "blocks": [],
        "bottleneck": False,
        "stem": "",
        "dropout": 0.1,
    }
    training = {
        "optimizer": "adamw",
        "schedule": "linear",
        "warmup": 0.06,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "accumulation": 1,
        "precision": "fp32",
        "compiled": False,
    }
    return {
        "input_size": preset["input_size"],
        "threads": preset["threads"],
        "data_seed": 0,
        "label_noise": 0.0,
        "views": 1,
        "mirror": False if options.data else config.cards(config.TASKS)[name].get("mirror", False),
        "sizes": {"generated_rows": 0} | preset["sizes"],
        "generator": Generator().model_dump(),
        "teacher": empty | preset["teacher"],
        "teacher_training": training | preset["teacher_training"],
        "student": empty | preset["student"],
        "assistant": dict(ASSISTANT),
        "training": training | preset["training"],
        "method": Method(name=OURS).model_dump() | preset["method"],
        "reference": {name: preset["method"][name] for name in ("temperature", "alpha")},
    }


def _kind(options: Options, name: str) -> str:
    """Of the rows that a track is going to have."""
    return kind_of(Path(options.data)) if options.data else config.cards(config.TASKS)[name]["kind"]


def kind_of(path: Path) -> str:
    """`image` or `text`, from the look of a user's own data. Raises UsageError when there is nothing to look at."""
    if not path.exists():
        raise UsageError(f"data {path} does not exist", "check --data")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    tables = [file for file in files if file.suffix in (".csv", ".parquet") and file.is_file()]
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
    first, _, rest = path.partition(".")
    if path in PLAN_FIELDS or first == "budget":
        made.put(path, value, origin)
    elif first in made.values["tracks"] and rest:
        made.put(f"tracks.{first}.{_full(rest)}", value, origin)
    else:
        for name in made.values["tracks"]:
            made.put(f"tracks.{name}.{_full(path)}", value, origin)


def _full(path: str) -> str:
    """`epochs` is short for `training.epochs`, `temperature` for `method.temperature`, and so on."""
    for folder, fields in (("training", TRAINING_FIELDS), ("method", METHOD_FIELDS), ("sizes", SIZE_FIELDS)):
        if path in fields:
            return f"{folder}.{path}"
    return path.replace("task.", "sizes.", 1) if path.startswith("task.") else path


def leave_out(made: Draft, options: Options) -> list[str]:
    """Drop the scale's own tracks that the proposed method is not defined for, and say which; tasks that the user named
    stay, and are refused later."""
    tracks = made.values["tracks"]
    if options.tasks or options.data:
        return []
    known = config.cards(config.TASKS)
    foreign = [name for name, settings in tracks.items() if known[name]["kind"] not in _kinds(settings["method"])]
    if len(foreign) == len(tracks):
        return []
    dropped = [(name, tracks.pop(name)["method"]["name"]) for name in foreign]
    return [
        f"{name} was left out: {method} as planned is not for {NOUNS[known[name]['kind']]}" for name, method in dropped
    ]


def _kinds(method: dict[str, Any]) -> tuple[str, ...]:
    """Kinds of rows for which a method and its choices are defined."""
    return Method(**{name: method[name] for name in ("name", "signal", "layer_map")}).kinds


def merge(made: Draft, proposal: Proposal) -> None:
    """Let a model's proposal replace defaults. What the user fixed stays."""
    said = proposal.model_dump(exclude_none=True, exclude={"title", "objective", "hypothesis", "methodology"})
    for name, value in said.items():
        field = "method.name" if name == "method" else _full(name)
        for track in made.values["tracks"]:
            path = f"tracks.{track}.{field}"
            if made.origins.get(path) != "user":
                made.put(path, value, "model")
    _provide(made)
    _enough(made)


_SILENT = Proposal(title="untitled", objective="unset", hypothesis="unset", methodology="unset", method="kd")


def freeze(made: Draft, options: Options, proposal: Proposal, facts: dict[str, Any]) -> Plan:
    """The plan. `facts` are those of the prepared data, per track; without them sizes are the wished ones."""
    names = made.values["tracks"]
    values = {k: made.values[k] for k in ("seeds", "attempts", "budget", "primary_metric", "least_effect", "level")}
    records = {
        name: _track(name, _kind(options, name), settings, facts.get(name), made.origins)
        for name, settings in names.items()
    }
    methods = {settings["method"]["name"] for settings in names.values()}
    transfer, generated = (
        any(record["task"][size] for record in records.values()) for size in ("transfer_rows", "generated_rows")
    )
    arms = _arms(methods, transfer, generated)
    benchmark = made.values["benchmark"] or _benchmark(methods, generated)
    if benchmark not in arms:
        raise PlanError(f"benchmark {benchmark!r} is no reference arm", f"reference arms: {', '.join(arms)}")
    try:
        return Plan.model_validate(
            {
                "schema": 1,
                "idea": options.idea,
                "parent": options.amends,
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


def _arms(methods: set[str], transfer: bool, generated: bool) -> list[str]:
    """The reference arms. Vanilla distillation on the generated rows is one where it is not the proposal itself."""
    arms = {
        "student_only": True,
        "vanilla_kd": True,
        "generated_kd": generated and methods != {"kd"},
        "pseudo_label": transfer or generated,
        "all_labels": transfer,
    }
    return [arm for arm, there in arms.items() if there]


def _benchmark(methods: set[str], generated: bool) -> str:
    """What the proposed arm must beat: vanilla distillation, on the same rows unless the rows are what is proposed; the
    student alone where there is no teacher, or where vanilla distillation is what is proposed."""
    if not all(method in cards() and cards()[method].teacher for method in methods):
        return "student_only"
    if generated:
        rows_alone = all(method == "kd" or cards()[method].generated for method in methods)
        return "vanilla_kd" if rows_alone else "generated_kd"
    return "student_only" if "kd" in methods else "vanilla_kd"


def _methods(track: str, settings: dict[str, Any], origins: dict[str, Origin]) -> dict[str, Any]:
    """The track's method and that of the reference arms. A method that the scale does not know has its own defaults;
    beside it, vanilla distillation keeps those of the scale."""
    wanted = settings["method"]
    if wanted["name"] not in cards():
        return {"method": wanted, "reference": None}
    card = cards()[wanted["name"]]
    weight = {"beta": card.weights[wanted["signal"]]} if wanted["signal"] in card.weights else {}
    given = {n: v for n, v in wanted.items() if origins.get(f"tracks.{track}.method.{n}", "default") != "default"}
    if wanted["name"] in SCALED:
        return {"method": wanted | weight | given, "reference": None}
    own = {**Method(name=OURS).model_dump(), **card.defaults, **weight, **given, "name": wanted["name"]}
    return {"method": own, "reference": {"name": "kd"} | settings["reference"]}


def _track(
    name: str, kind: str, settings: dict[str, Any], facts: dict[str, Any] | None, origins: dict[str, Origin]
) -> dict[str, Any]:
    sizes = settings["sizes"]
    wished = {"train": sizes["train_rows"] or 1, "dev": sizes["dev_rows"], "test": sizes["test_rows"] or 1}  # 0: all
    more = {"transfer": sizes["transfer_rows"], "generated": sizes["generated_rows"]}
    rows = facts["rows"] if facts else wished | more
    task = {
        "name": name,
        "kind": facts["task"]["kind"] if facts else kind,
        "source": facts["source"] if facts else "",
        "revision": facts["revision"] if facts else "",
        "labels": facts["task"]["labels"] if facts else [],
        "hash": facts["hash"] if facts else "",
        "encoded": facts["encoded"] if facts else "",
        "notes": facts["notes"] if facts else [],
        "train_rows": rows["train"],
        "transfer_rows": rows["transfer"],
        "generated_rows": rows.get("generated", 0),
        "dev_rows": rows["dev"],
        "test_rows": rows["test"],
        "input_size": settings["input_size"],
        "data_seed": settings["data_seed"],
        "label_noise": settings["label_noise"],
        "views": settings["views"],
        "mirror": settings["mirror"] if settings["views"] != 1 else False,
    }
    parts = {part: settings[part] for part in TRACK_PARTS}
    stated = rows.get("generated") or any(path.startswith(f"tracks.{name}.generator.") for path in origins)
    found = {size: value for size, value in (facts or {}).get("generated", {}).items() if size in ("layers", "width")}
    parts["generator"] = settings["generator"] | found if stated else None
    return {"name": name, "task": task, "assistant": assistant(settings)} | parts | _methods(name, settings, origins)


def assistant(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The model between teacher and student, where the track's method has one: built like the teacher, and as deep and
    as wide as was said, or halfway between the two."""
    name, teacher, student = settings["method"]["name"], settings["teacher"], settings["student"]
    sizes = (model[size] for model in (teacher, student) for size in ("layers", "width", "heads"))
    if name not in cards() or not cards()[name].assistant:
        return None
    if not all(isinstance(size, int | float) for size in sizes):
        return None  # what is no number is refused where it stands
    said, halfway = settings["assistant"], _halfway(teacher, student)
    made: dict[str, Any] = teacher | said | {size: said[size] or usual for size, usual in halfway.items()}
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


def _is_stated(field: str, method: dict[str, Any]) -> bool:
    return field in FIRST or (method["name"] in cards() and field in cards()[method["name"]].defaults)


def _provenance(made: Draft, records: dict[str, Any]) -> dict[str, Origin]:
    """Every leaf of the plan that a setting decided, with its origin; what nobody touched is a default."""
    origins: dict[str, Origin] = {}
    for name, record in records.items():
        for part in ("teacher", "teacher_training", "student", "training", "method", "generator"):
            said = written(record[part]) if part == "generator" and record[part] else record[part]
            for field in said or ():
                path = f"tracks.{name}.{part}.{field}"
                if field == "compiled" and path not in made.origins and not said[field]:
                    continue
                if part == "method" and path not in made.origins and not _is_stated(field, record[part]):
                    continue
                origins[path] = made.origins.get(path, "default")
        for field in ASSISTANT:
            path = f"tracks.{name}.assistant.{field}"
            if record["assistant"] or path in made.origins:
                origins[path] = made.origins.get(path, "default")
        for size in SIZE_FIELDS:
            if (
                size == "generated_rows"
                and not record["task"][size]
                and f"tracks.{name}.sizes.{size}" not in made.origins
            ):
                continue
            origins[f"tracks.{name}.task.{size}"] = made.origins.get(f"tracks.{name}.sizes.{size}", "default")
        late = (["label_noise"] if record["task"]["label_noise"] else []) + VIEWS * (record["task"]["views"] != 1)
        for field in ("input_size", "threads", *late):
            origins[f"tracks.{name}.{field}"] = made.origins.get(f"tracks.{name}.{field}", "default")
    for path in (*PLAN_FIELDS, *(f"budget.{name}" for name in made.values["budget"])):
        origins[path] = made.origins.get(path, "default")
    return origins


def _first(error: ValidationError, names: list[str]) -> tuple[str, str]:
    """One line for the first thing wrong: which field, which value, what is allowed."""
    found = error.errors()[0]
    where = [str(part) for part in found["loc"]]
    if where[0] == "tracks" and len(where) > 2:
        where = [names[int(where[1])], *(part for part in where[2:] if part != "task")]  # as --set takes them
    field, said = ".".join(where), found["msg"].removeprefix("Value error, ")
    return (
        f"{field} = {found['input']!r:.80}: {said[0].lower()}{said[1:]}",
        f"choose another value: --set {field}=VALUE",
    )
