"""Contradictions in reported evaluations: with their own arithmetic, with the plan, and with each other.

Level E means that something is wrong; level W, that a reader must know it before believing the number.
"""

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from agent.config import ROOT
from agent.metrics.arithmetic import MOST_CANDIDATES, MOST_ROWS, above, counts, divisor
from agent.metrics.reported import Evaluation
from agent.plan.plan import Plan

SPLITS = ROOT / "baselines" / "splits.toml"
TRAINER_BATCH = 8  # the Trainer's per_device_eval_batch_size where nobody chose one
AROUND = 0.05  # nats: a loss so close to ln C is that of a head that knows nothing
MOST_CLASSES = 1000
FEW_ROWS = 2000
SAME_EPOCH = 0.01  # relative


@dataclass(frozen=True)
class Contradiction:
    level: Literal["E", "W"]
    rule: str
    about: str
    """The evaluation, or both."""
    message: str


@dataclass(frozen=True)
class KnownSplit:
    """An evaluation split that published results are often about."""

    name: str
    rows: int
    classes: int
    source: str
    majority: int = 0
    """Rows with the most frequent label; 0 where nobody counted."""


def splits() -> list[KnownSplit]:
    return [KnownSplit(**row) for row in tomllib.loads(SPLITS.read_text(encoding="utf-8"))["split"]]


def contradictions(evaluations: Sequence[Evaluation], plan: Plan | None = None) -> list[Contradiction]:
    """Everything wrong with the evaluations, each by itself first, then every two of them."""
    found = [finding for each in evaluations for finding in _alone(each, plan)]
    pairs = [pair for pair in combinations(evaluations, 2) if _side_by_side(*pair)]
    return found + [finding for ours, theirs in pairs for finding in _together(ours, theirs)]


def _side_by_side(ours: Evaluation, theirs: Evaluation) -> bool:
    """Whether a reader would compare them: evaluations of two files under one name, or the only ones there."""
    if "train" in (ours.prefix, theirs.prefix) or ours.file == theirs.file:
        return False
    return ours.prefix == theirs.prefix or (ours.alone and theirs.alone)


def _alone(each: Evaluation, plan: Plan | None) -> Iterator[Contradiction]:
    broken = list(_arithmetic(each))
    yield from broken
    if each.prefix == "train":
        yield from _training(each, plan) if plan and not broken else ()
        return
    if not broken:
        yield from _knowledge(each, plan)
        yield from _few(each)
    yield from _epoch(each, plan)
    if plan and not broken:
        yield from _planned(each, plan)


def _error(each: Evaluation, rule: str, message: str) -> Contradiction:
    return Contradiction("E", rule, each.name, message)


def _warning(each: Evaluation, rule: str, message: str) -> Contradiction:
    return Contradiction("W", rule, each.name, message)


def _arithmetic(each: Evaluation) -> Iterator[Contradiction]:
    for name in each.infinite:
        yield _error(each, "finite", f"{name} is not a finite number: training or evaluation diverged")
    for name, number in each.numbers.items():
        if number.value < 0:
            yield _error(each, "range", f"{name} is {number}, below zero")
    accuracy = each["accuracy"]
    if accuracy and accuracy.value > 1:
        yield _error(each, "range", f"accuracy is {accuracy}: a share of right answers lies between 0 and 1")
    elif all(number.value >= 0 for number in each.numbers.values()):
        yield from _speeds(each)
        yield from _rows(each)


def _speeds(each: Evaluation) -> Iterator[Contradiction]:
    """Rows and steps are whole numbers, and some batch size cuts the one into the other."""
    whole = True
    for what, rate in (("rows", "samples_per_second"), ("steps", "steps_per_second")):
        fraction = each.prefix == "train" and what == "rows"  # passes over the rows need not be whole
        if {"runtime", rate} <= each.numbers.keys() and not fraction and not _counts(each, rate):
            whole = False
            yield _error(each, what, f"{_product(each, rate)}, which is not a whole number of {what} from 1 on")
    if whole and each.sizes == () and each.prefix != "train":
        yield _error(
            each,
            "batch",
            f"{_product(each, 'samples_per_second')} rows, {_product(each, 'steps_per_second')} steps: "
            "no batch size cuts those rows into those steps",
        )


def _counts(each: Evaluation, rate: str) -> range:
    return counts(each.numbers["runtime"], each.numbers[rate])


def _product(each: Evaluation, rate: str) -> str:
    runtime, speed = each.numbers["runtime"], each.numbers[rate]
    return f"{runtime} s × {speed} a second = {float(runtime.value * speed.value):.3f}"


def _rows(each: Evaluation) -> Iterator[Contradiction]:
    """The declared number of rows is that of the speeds, and the accuracy a share of it."""
    declared, accuracy = each["samples"], each["accuracy"]
    if declared and declared.value.denominator != 1:
        yield _error(each, "rows", f"samples is {declared}, which is not a whole number")
    elif declared and each.sizes and each.size not in {size.rows for size in each.sizes}:
        said = _either(sorted({size.rows for size in each.sizes}))
        yield _error(each, "rows", f"it declares {declared} rows, its runtime and speed give {said}")
    elif accuracy and each.rows and not any(map(each.fits, each.rows)):
        nearest = float(accuracy.value * each.rows[0])
        yield _error(
            each, "accuracy", f"accuracy {accuracy} of {_either(each.rows)} rows would be {nearest:.3f} right answers"
        )


def _knowledge(each: Evaluation, plan: Plan | None) -> Iterator[Contradiction]:
    """Loss against ln C, and right answers against chance and against the most frequent label."""
    if not each.right:
        return
    loss = float(each.numbers["loss"].value) if each["loss"] else None
    classes, sure = _classes(each, plan)
    guessing = bool(classes) and not above(each.right[-1], each.size, 1 / classes)
    if loss is not None and guessing and loss >= math.log(classes) - AROUND:
        yield _error(each, "untrained", _untrained(each, loss, classes))
    elif guessing and sure:
        yield _error(each, "chance", f"{_share(each)}: not above chance, one of {classes} classes")
    elif loss is not None and sure and loss >= math.log(classes) - AROUND:
        yield _warning(
            each,
            "loss",
            f"loss {loss:g} is that of a head that knows nothing of {classes} classes (ln {classes} = "
            f"{math.log(classes):.4f}), though its answers are above chance: over-confident, or of a different model",
        )
    for split in same_size(each):
        if split.majority and not guessing and not above(each.right[-1], each.size, split.majority / split.rows):
            yield _warning(each, "majority", f"{_share(each)}: if this is {split.name}, {_majority(split)}")


def _classes(each: Evaluation, plan: Plan | None) -> tuple[int, bool]:
    """How many classes there are, and whether the plan states it; otherwise the number that fits the loss, or 0."""
    planned = [track for track in plan.tracks if track.task.test_rows == each.size] if plan else []
    if planned:
        return len(planned[0].task.labels), True
    loss = float(each.numbers["loss"].value) if each["loss"] else 0.0
    near = round(math.exp(min(loss, 10.0)))
    return (near, False) if 2 <= near <= MOST_CLASSES and abs(loss - math.log(near)) <= AROUND else (0, False)


def _untrained(each: Evaluation, loss: float, classes: int) -> str:
    constant = "".join(f"; on {s.name} {_majority(s)}" for s in same_size(each) if s.majority and s.classes == classes)
    return (
        f"untrained: loss {loss:g} is that of a {classes}-way head that knows nothing "
        f"(ln {classes} = {math.log(classes):.4f}), and {_share(each)} is not above chance, {1 / classes:.1%}{constant}"
    )


def _share(each: Evaluation) -> str:
    low, high = each.interval
    return f"{_either(each.right)} of {each.size:,} right (95 % interval {low:.1%} to {high:.1%})"


def _majority(split: KnownSplit) -> str:
    return f"the most frequent label alone gives {split.majority / split.rows:.1%}"


def same_size(each: Evaluation) -> list[KnownSplit]:
    return [split for split in splits() if split.rows == each.size]


def _few(each: Evaluation) -> Iterator[Contradiction]:
    if each.right and each.size < FEW_ROWS:
        width = 100 * (each.interval[1] - each.interval[0])
        yield _warning(each, "few rows", f"{each.size} rows leave an interval of {width:.1f} points: it must be shown")


def _epoch(each: Evaluation, plan: Plan | None) -> Iterator[Contradiction]:
    planned = sorted({track.training.epochs for track in plan.tracks}) if plan else []
    said = f"the plan has {_either(planned)}"
    epoch = each["epoch"]
    if not epoch:
        absent = "no epoch: in transformers 4 the key is missing where the Trainer never trained"
        yield _error(each, "epoch", f"{absent}, and {said}") if plan else _warning(each, "epoch", absent)
    elif planned and not any(math.isclose(float(epoch.value), each, rel_tol=SAME_EPOCH) for each in planned):
        yield _error(each, "epoch", f"it stands at epoch {epoch}, {said}")


def _planned(each: Evaluation, plan: Plan) -> Iterator[Contradiction]:
    """The number of rows is that of a track's test split; the batch size may differ, but was not planned."""
    if each.rows and not any(track.task.test_rows in each.rows for track in plan.tracks):
        dev = [track.name for track in plan.tracks if track.task.dev_rows in each.rows]
        tests = ", ".join(f"{track.name} has {track.task.test_rows:,} test rows" for track in plan.tracks)
        other = (
            f"; it is the size of the dev rows of {dev[0]}, which choose between attempts and prove nothing"
            if dev
            else ""
        )
        yield _error(each, "rows", f"{_either(each.rows)} rows are not those of a planned test: {tests}{other}")
    sizes = sorted({track.training.batch_size for track in plan.tracks})
    if each.batches and not set(sizes) & set(each.batches):
        default = ", the Trainer's default," if each.batches == (TRAINER_BATCH,) else ""
        yield _warning(
            each, "batch", f"it ran in batches of {_either(each.batches)}{default} where the plan has {_either(sizes)}"
        )


def _training(each: Evaluation, plan: Plan | None) -> Iterator[Contradiction]:
    """The steps of a training are those of a track."""
    if plan and {"runtime", "steps_per_second"} <= each.numbers.keys():
        steps = _counts(each, "steps_per_second")
        if not any(track.steps in steps for track in plan.tracks):
            planned = ", ".join(f"{track.name} {track.steps:,}" for track in plan.tracks)
            yield _error(each, "steps", f"it took {_either(steps)} steps, the plan has {planned}")


def _together(ours: Evaluation, theirs: Evaluation) -> Iterator[Contradiction]:
    """Whether a difference of the two means anything: same rows, same classes; same batches where speed is compared."""
    both = f"{ours.name}, {theirs.name}"
    if ours.rows and theirs.rows and not set(ours.rows) & set(theirs.rows):
        yield Contradiction(
            "E",
            "compare",
            both,
            f"cannot be compared: {_either(ours.rows)} and {_either(theirs.rows)} rows are two different tests, "
            f"so {_difference(ours, theirs)} means nothing",
        )
    elif ours.batches and theirs.batches and not set(ours.batches) & set(theirs.batches):
        sizes = f"{_either(ours.batches)} and {_either(theirs.batches)}"
        yield Contradiction("W", "compare", both, f"their speeds cannot be compared: batches of {sizes}")


def _difference(ours: Evaluation, theirs: Evaluation) -> str:
    a, b = ours["accuracy"], theirs["accuracy"]
    return f"the difference of {100 * float(a.value - b.value):+.1f} points" if a and b else "any difference"


def _either(values: Sequence[float]) -> str:
    """`500`, `500 or 501`, `500 to 540`."""
    shown = [f"{value:g}" if isinstance(value, float) else f"{value:,}" for value in values]
    return " or ".join(shown) if len(shown) < 3 else f"{shown[0]} to {shown[-1]}"


def facts(each: Evaluation) -> Iterator[tuple[str, str]]:
    """Conclusions from the digits, and the digits they follow from: (name, sentence)."""
    if {"runtime", "samples_per_second"} <= each.numbers.keys():
        yield "rows", f"{_known(each.rows)}: {_product(each, 'samples_per_second')}"
    if {"runtime", "steps_per_second"} <= each.numbers.keys():
        yield "steps", f"{_known(_counts(each, 'steps_per_second'))}: {_product(each, 'steps_per_second')}"
    if each.prefix == "train":
        return
    if each.batches:
        only = " (the only size that fits; the Trainer's default)" if each.batches == (TRAINER_BATCH,) else ""
        yield "batch", f"{_either(each.batches)}: ⌈rows / batch⌉ = steps{only}"
    if each.right:
        yield "right", f"accuracy {each['accuracy']} × {each.size:,}: {_share(each)}"
    if named := [split.name for split in same_size(each)]:
        yield "size of", " or ".join(named)
    if (accuracy := each["accuracy"]) and (least := divisor(accuracy)) > 1:
        able = [split.name for split in splits() if split.rows % least == 0]
        known = f"of the known splits that is {' or '.join(able)}" if able else "no known split has that"
        yield (
            "fraction",
            f"any test of up to {MOST_ROWS:,} rows with this accuracy has a multiple of {least:,} rows; {known}",
        )
    if each.size and (runtime := each["runtime"]):
        yield "speed", f"{1000 * float(runtime.value) / each.size:.2f} ms per row"
    if epoch := each["epoch"]:
        yield "epoch", str(epoch)


def _known(found: Sequence[int]) -> str:
    return _either(found) if 0 < len(found) <= MOST_CANDIDATES else "unknown"
