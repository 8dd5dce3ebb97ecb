"""The start of a plan: the idea as text, the scale's tasks and the scale's settings."""

import copy
import re
import unicodedata
from pathlib import Path
from typing import Any

from agent import config
from agent.errors import UsageError
from agent.plan.draft import ASSISTANT, OURS
from agent.plan.method import Method
from agent.plan.options import Options
from agent.plan.plan import Generator, ModelSpec, Task, Training
from agent.record.printed import command

LONGEST_IDEA = 4000  # characters
LONGEST_NAME = 60  # bytes


def check_idea(idea: str) -> str:
    """The idea on one line. Raises UsageError for an empty one or one that is too long for a sentence."""
    sentence = " ".join(idea.split())
    if not sentence:
        example = command("run", "efficient KD for small models")
        raise UsageError("the idea is empty", f"name what to try, for example: {example}")
    if len(sentence) > LONGEST_IDEA:
        problem = f"the idea has {len(sentence):,} characters, at most {LONGEST_IDEA:,} are allowed"
        raise UsageError(problem, "shorten it to a few sentences")
    for position, sign in enumerate(sentence, start=1):
        if unicodedata.category(sign) in ("Cc", "Cs"):  # control characters; bytes that are not UTF-8
            raise UsageError(f"the idea contains {sign!r} at character {position}", "write it as plain text in UTF-8")
    return sentence


def tracks(options: Options) -> list[str]:
    """Names of the tracks. Raises UsageError for a task nobody knows."""
    if options.own:
        return [options.own_name or _name(Path(options.data).stem)]
    known = config.cards(config.TASKS)
    for name in options.tasks:
        if name not in known:
            raise UsageError(f"unknown task {name!r:.80}", f"known: {', '.join(known)}; or --data for your own")
    return list(options.tasks) or list(scale_card(options)["tracks"])


def _name(stem: str) -> str:
    """A track's name from that of the user's file, short enough for the paths of an archive."""
    words = re.sub(r"\W+", "_", stem.lower())[:40]
    return words.encode()[:LONGEST_NAME].decode(errors="ignore").strip("_") or "own"


def scale_card(options: Options) -> dict[str, Any]:
    """The defaults of the wanted scale. Raises UsageError for an unknown one."""
    scales = config.cards(config.SCALES)
    if options.scale not in scales:
        raise UsageError(f"unknown scale {options.scale!r:.80}", f"known: {', '.join(scales)}")
    found: dict[str, Any] = scales[options.scale]
    return found


def preset_of(options: Options, scale: dict[str, Any], name: str) -> dict[str, Any]:
    """Settings of one track: its own at this scale, or those of the scale's task of the same kind."""
    if name in scale and not options.own:
        preset = copy.deepcopy(scale[name])
    else:
        kind, known = kind_of_track(options, name), config.cards(config.TASKS)
        preset = copy.deepcopy(next(scale[other] for other in known if other in scale and known[other]["kind"] == kind))
        if kind != "language":
            preset["input_size"] = 32 if kind == "image" else max(preset["input_size"], 64)
        if options.own:
            preset["sizes"] = {"train_rows": 0, "transfer_rows": 0, "dev_rows": 500, "test_rows": 0}
    model, training, task = ModelSpec.usual(), Training.usual(), Task.usual()
    return {
        "input_size": preset["input_size"],
        "threads": preset["threads"],
        **{field: task[field] for field in ("data_seed", "label_noise", "views")},
        "mirror": not options.own and config.cards(config.TASKS)[name].get("mirror", task["mirror"]),
        "sizes": {"generated_rows": task["generated_rows"]} | preset["sizes"],
        "generator": Generator.usual(),
        "teacher": model | preset["teacher"],
        "teacher_training": training | preset["teacher_training"],
        "student": model | preset["student"],
        "assistant": dict(ASSISTANT),
        "training": training | preset["training"],
        "method": Method(name=OURS).whole.model_dump() | preset["method"],
        "reference": {name: preset["method"][name] for name in ("temperature", "alpha")},
    }


def kind_of_track(options: Options, name: str) -> str:
    """Of the rows that a track is going to have."""
    if options.own:
        return options.own_kind or kind_of(Path(options.data))
    return str(config.cards(config.TASKS)[name]["kind"])


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
        raise UsageError(
            f"cannot read {tables[0].name}: {str(error).splitlines()[0]}", "is the file complete?"
        ) from error
    return "image" if {"image", "img", "pixels"} & set(names) else "text"
