"""Freezing a draft: the plan with its arms, its benchmark and the origin of every value."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agent.errors import PlanError
from agent.plan.arms import VANILLA, Circumstances, benchmark, reference_arms
from agent.plan.assistant import assistant
from agent.plan.cards import cards
from agent.plan.defaults import kind_of_track
from agent.plan.draft import ASSISTANT, OURS, PLAN_FIELDS, SIZE_FIELDS, TRACK_PARTS, VIEWS, Draft
from agent.plan.method import STATED, Method
from agent.plan.options import Options
from agent.plan.plan import Origin, Plan, written
from agent.plan.proposal import Proposal
from agent.record.prepared import Prepared


def freeze(made: Draft, options: Options, proposal: Proposal, prepared: Mapping[str, Prepared]) -> Plan:
    """The plan. Without `prepared` rows and models, per track, sizes are the wished ones."""
    names = made.values["tracks"]
    values = {k: made.values[k] for k in ("seeds", "attempts", "budget", "primary_metric", "least_effect", "level")}
    records = {name: _track(made, name, kind_of_track(options, name), prepared.get(name)) for name in names}
    methods = {settings["method"]["name"] for settings in names.values()}
    transfer, generated = (
        any(record["task"][size] for record in records.values()) for size in ("transfer_rows", "generated_rows")
    )
    run = Circumstances(methods, transfer, generated)
    arms, wanted = reference_arms(run), made.values["benchmark"] or benchmark(run)
    if wanted not in arms:
        raise PlanError(f"benchmark {wanted!r} is not a reference arm", f"reference arms: {', '.join(arms)}")
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
                "benchmark": wanted,
                "provenance": _provenance(made, records),
                **values,
            }
        )
    except ValidationError as error:
        raise PlanError(*_first(error, list(records))) from error


def _methods(made: Draft, track: str) -> dict[str, Any]:
    """The track's method and that of the reference arms. A method that the scale does not know has its own defaults;
    beside it, vanilla distillation keeps those of the scale. A replayed one has those of its record."""
    settings, origins, known = made.values["tracks"][track], made.origins, made.recorded.get(track)
    wanted = settings["method"]
    if wanted["name"] not in cards():
        return {"method": wanted, "reference": None}
    card = cards()[wanted["name"]]
    weight = {"beta": card.weights[wanted["signal"]]} if wanted["signal"] in card.weights else {}
    given = {n: v for n, v in wanted.items() if origins.get(f"tracks.{track}.method.{n}", "default") != "default"}
    if known and known.method.name == wanted["name"]:
        reference = known.reference and known.reference.model_dump()
        return {"method": known.method.model_dump() | given, "reference": reference}
    if card.scaled:
        return {"method": wanted | weight | given, "reference": None}
    own = {**Method(name=OURS).whole.model_dump(), **card.defaults, **weight, **given, "name": wanted["name"]}
    return {"method": own, "reference": {"name": VANILLA} | settings["reference"]}


def _track(made: Draft, name: str, kind: str, prepared: Prepared | None) -> dict[str, Any]:
    settings, origins = made.values["tracks"][name], made.origins
    sizes = settings["sizes"]
    wished = {"train": sizes["train_rows"] or 1, "dev": sizes["dev_rows"], "test": sizes["test_rows"] or 1}  # 0: all
    more = {"transfer": sizes["transfer_rows"], "generated": sizes["generated_rows"]}
    rows = prepared.rows if prepared else wished | more
    task = {
        "name": name,
        "kind": prepared.task.kind if prepared else kind,
        "source": prepared.source if prepared else "",
        "revision": prepared.revision if prepared else "",
        "labels": prepared.task.labels if prepared else (),
        "hash": prepared.hash if prepared else "",
        "encoded": prepared.encoded if prepared else "",
        "notes": prepared.notes if prepared else (),
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
    written_by = (prepared.generated if prepared else None) or {}
    found = {size: value for size, value in written_by.items() if size in ("layers", "width")}
    parts["generator"] = settings["generator"] | found if stated else None
    return {"name": name, "task": task, "assistant": assistant(settings)} | parts | _methods(made, name)


def _is_stated(field: str, method: dict[str, Any]) -> bool:
    return field in STATED or (method["name"] in cards() and field in cards()[method["name"]].defaults)


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
    """One line for the first error: which field, which value, what is allowed."""
    found = error.errors()[0]
    where = [str(part) for part in found["loc"]]
    if where[0] == "tracks" and len(where) > 2:
        where = [names[int(where[1])], *(part for part in where[2:] if part != "task")]  # as --set takes them
    field, said = ".".join(where), found["msg"].removeprefix("Value error, ")
    return (
        f"{field} = {found['input']!r:.80}: {said[0].lower()}{said[1:]}",
        f"choose another value: --set {field}=VALUE",
    )
