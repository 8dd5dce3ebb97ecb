"""Planned beside executed, field by field.

A row MATCHes when the planned value was seen in every trial of the proposed arm, has DEVIATED when a different value
was seen in one, and is NOT_SEEN when one trial left no trace of it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from agent.plan.plan import Plan, Track, Training
from agent.results.evidence import Evidence, TrialRecord
from agent.results.schema import SCHEMA, FieldRow, TrackResult

EXECUTED = ("learning_rate", "batch_size", "accumulation", "optimizer", "weight_decay", "max_grad_norm", "precision")
"""Settings of a training that the live trainer reports by the same name."""

Where = Literal["in-process", "outside"]


def fields(evidence: Evidence, schema: int = SCHEMA) -> tuple[FieldRow, ...]:
    """Every field of a track that something executed, as results of that schema have it."""
    track, sheet = evidence.track, _Sheet(evidence.plan, f"tracks.{evidence.track.name}.")
    proposed, teacher = evidence.proposed, [evidence.teacher]
    rows = [*_training(sheet, "training", track.training, track.steps, proposed)]
    rows += [*_method(sheet, evidence, schema)]
    rows.append(sheet.row("seeds", str(list(evidence.plan.seeds)), _list(_first(r, "seed") for r in proposed)))
    rows.append(sheet.row("threads", track.threads, _same(_first(r, "threads") for r in proposed)))
    rows.append(sheet.row("student.dropout", "as built", _same(r.executed("dropout") for r in proposed)))
    rows += [*_rows_seen(sheet, evidence, schema)]
    if track.teacher_steps:
        rows += [*_training(sheet, "teacher_training", track.teacher_training, track.teacher_steps, teacher)]
    else:
        rows.append(sheet.row("teacher_training.epochs", 0, None if evidence.teacher.lines else 0, where="outside"))
    if track.assistant:
        rows.append(sheet.row("assistant.steps", track.assistant_steps, _steps(evidence.assistant)))
    rows += [*_outside(sheet, evidence)]
    return tuple(rows)


def run_fields(
    plan: Plan, tracks: Sequence[TrackResult], attempts: int, seconds: float, tokens: int, longest: float, memory: int
) -> tuple[FieldRow, ...]:
    """Fields of the whole run; `longest` is seconds per trial, `memory` the most bytes a process used."""
    sheet, budget = _Sheet(plan, "", "outside"), plan.budget
    arms = {arm.name for track in tracks for arm in track.arms if len(arm.trials) == len(plan.seeds)}
    return (
        sheet.row("metrics", ", ".join(plan.metrics), ", ".join(_measured(plan, tracks)) or None),
        sheet.row(
            "reference_arms", ", ".join(plan.reference_arms), ", ".join(a for a in plan.reference_arms if a in arms)
        ),
        sheet.at_most("attempts", plan.attempts, attempts),
        sheet.at_most("budget.seconds", budget.seconds, round(seconds, 1)),
        sheet.at_most("budget.trial_seconds", budget.trial_seconds, round(longest, 1)),
        sheet.at_most("budget.memory_mb", budget.memory_mb, memory >> 20),
        sheet.at_most("budget.tokens", budget.tokens, tokens),
    )


class _Sheet:
    """Makes rows, with the origin of each planned value."""

    def __init__(self, plan: Plan, prefix: str, where: Where = "in-process") -> None:
        self.plan, self.prefix, self.where = plan, prefix, where

    def row(
        self,
        field: str,
        planned: Any,
        seen: Any,
        matches: Callable[[Any], bool] | None = None,
        where: Where | None = None,
        unseen: str = "not seen",
    ) -> FieldRow:
        """`seen` is None where nothing was seen, which `unseen` then reports; `matches` replaces equality."""
        same = seen is not None and (matches(seen) if matches else seen == planned)
        return FieldRow(
            field=field,
            planned=_shown(planned),
            executed=unseen if seen is None else _shown(seen),
            origin=self.plan.provenance.get(self.prefix + field, self.plan.provenance.get(field, "default")),
            status="NOT_SEEN" if seen is None else "MATCH" if same else "DEVIATED",
            where=where or self.where,
        )

    def at_most(self, field: str, most: float, seen: float) -> FieldRow:
        return self.row(field, f"at most {_shown(most)}", seen, lambda value: value <= most)


def _training(
    sheet: _Sheet, part: str, planned: Training, steps: int, records: Sequence[TrialRecord]
) -> Iterator[FieldRow]:
    for name in (*EXECUTED, *(["compiled"] if planned.compiled else [])):
        yield sheet.row(f"{part}.{name}", getattr(planned, name), _same(_setting(r, name) for r in records))
    done = _same(_steps(record) for record in records)
    epochs = f"{planned.epochs:g} ({steps} steps)"
    yield sheet.row(f"{part}.epochs", epochs, epochs if done == steps else done and f"{done} steps")
    warmup = round(planned.warmup * steps)
    seen = _same(_first(r, "warmup") for r in records)
    yield sheet.row(f"{part}.warmup", warmup, seen)
    odd = _same(r.ended("schedule") for r in records)
    yield sheet.row(f"{part}.schedule", planned.schedule, odd if odd is None else odd or planned.schedule)


def _first(record: TrialRecord, name: str) -> Any:
    """As it was at the first step."""
    return record.said("start", "executed").get(name)


def _setting(record: TrialRecord, name: str) -> Any:
    """As the plan means it: the harness may have split a batch that did not fit into memory."""
    seen, micro = record.executed(name), record.micro
    if micro == 1 or not isinstance(seen, int):
        return seen
    return {"batch_size": seen * micro, "accumulation": seen // micro}.get(name, seen)


def _steps(record: TrialRecord) -> int | str | None:
    """Steps the trainer counted, where the optimizer made as many."""
    step, updates = record.ended("step"), record.ended("updates")
    if step is None or updates is None:
        return None
    return int(step) if step == updates else f"{step} with {updates} updates of the optimizer, not {step}"


def _method(sheet: _Sheet, evidence: Evidence, schema: int) -> Iterator[FieldRow]:
    """A setting cannot be read back from a loss; that train.py read the plan's value at every seed can."""
    method, records = evidence.track.method, evidence.proposed
    for name in method.card.defaults:
        reads = [record.said("end", "reads").get(name, 0) for record in records]
        field, value = f"method.{name}", getattr(method, name)
        if name in method.unused:
            yield sheet.row(field, "not used", "read by train.py" if any(reads) else "not used")
        elif any(reads) or name not in method.idle:
            every, whether = bool(records) and all(reads), _read(evidence.plan.seeds, reads)
            seen = (value if schema == 1 else whether) if every else None
            yield sheet.row(field, value, seen, lambda seen: True, unseen=whether if schema > 1 else "not seen")


def _read(seeds: Sequence[int], reads: Sequence[int]) -> str:
    """At which seeds train.py read a setting; `reads` counts how often, by seed."""
    missed = [str(seed) for seed, count in zip(seeds, reads, strict=True) if not count]
    if not missed:
        return "read at every seed"
    return "not read at any seed" if len(missed) == len(seeds) else f"not read at {', '.join(missed)}"


def _rows_seen(sheet: _Sheet, evidence: Evidence, schema: int) -> Iterator[FieldRow]:
    track, records = evidence.track, evidence.proposed
    for split, planned in _due(track).items():
        chosen = split == "train" and planned < track.task.train_rows
        field = f"task.{split}_rows" + ", those kept" * chosen
        yield sheet.row(field, planned, _same(_distinct(record, split, track) for record in records))
    expected = samples(track, 1)
    yield sheet.row("samples", expected, _same(_samples(record, track, schema) for record in records))
    if track.task.views > 1:
        yield sheet.row("views", track.task.views, _same(record.ended("views") for record in records))
    largest = _same(record.ended("largest") for record in records)
    yield sheet.row("input_size", f"at most {track.task.input_size}", largest, lambda n: n <= track.task.input_size)


def _due(track: Track) -> dict[str, int]:
    """Rows the proposed arm learns from, per split."""
    task, more = track.task, track.method.card.unlabelled
    due = {"train": track.method.chosen(task.train_rows), "transfer": task.transfer_rows * more}
    return due | {"generated": task.generated_rows * more} if task.generated_rows else due


def _distinct(record: TrialRecord, split: str, track: Track) -> int | None:
    """Different rows of a split that were in a batch; all of them, where as many were missed as batches leave over."""
    seen = record.said("end", "distinct")
    counts = [seen.get(name) for name in _due(track)]
    if not all(isinstance(count, int) for count in counts):
        return None
    due_rows = sum(_due(track).values())
    missed = due_rows - sum(int(count) for count in counts if count is not None)
    batch = track.training.batch_size * track.training.accumulation
    due, planned = min(due_rows, samples(track, record.micro)), _due(track)[split]
    left_over = 0 <= missed <= due_rows - due + batch and (seen[split] > 0) == (planned > 0)
    return planned if left_over else int(seen[split])


def _samples(record: TrialRecord, track: Track, schema: int) -> int | None:
    """Rows the student was shown in training; the one batch that may be fetched ahead is not counted.

    Every arm of the library shows each row of a batch once: an edit that shows it more has learned from more than the
    others. Schemas 1 and 2 looked for too few alone.
    """
    shown, fetched, due = record.ended("forward_rows"), record.ended("samples"), samples(track, record.micro)
    if not isinstance(shown, int) or not isinstance(fetched, int):
        return None
    most = due + track.training.batch_size * track.training.accumulation
    if shown < due or fetched > most:
        return shown if shown < due else fetched
    return shown if schema > 2 and shown > most else samples(track, 1)


def batches(track: Track, micro: int) -> int:
    """Batches of all steps."""
    return math.ceil(samples(track, micro) / (track.training.batch_size // micro))


def samples(track: Track, micro: int) -> int:
    """Rows in the batches of all steps. As experiment.training_arguments() has it, an epoch's last batch is left out
    unless it is full, or fewer rows than a batch are labelled."""
    rows, size = sum(_due(track).values()), track.training.batch_size // micro
    full = track.task.train_rows >= size
    per_epoch = rows // size if full else math.ceil(rows / size)
    updates = math.ceil(per_epoch / (track.training.accumulation * micro))
    epochs, rest = divmod(track.steps, updates)
    begun = min(rest * track.training.accumulation * micro, per_epoch) * size
    return epochs * (per_epoch * size if full else rows) + (begun if full else min(begun, rows))


def _outside(sheet: _Sheet, evidence: Evidence) -> Iterator[FieldRow]:
    task = evidence.track.task
    for split, planned in (("dev", task.dev_rows), ("test", task.test_rows)):
        seen = evidence.answers.get(split)
        yield sheet.row(f"task.{split}_rows", planned, seen and seen[0], where="outside")
    classes = evidence.answers.get("test")
    yield sheet.row("task.labels", len(task.labels), classes and classes[1], where="outside")
    digest = task.hash[:12]
    yield sheet.row("task.hash", digest, digest if evidence.data_same else "other files", where="outside")
    student = _same(_model(record.prediction) for record in evidence.proposed)
    yield sheet.row("student", evidence.models["student"].called, student, where="outside")
    yield sheet.row("teacher", evidence.models["teacher"].called, _model(evidence.teacher_prediction), where="outside")
    if evidence.track.assistant:
        assistant = _model(evidence.assistant.prediction)
        yield sheet.row("assistant", evidence.models["assistant"].called, assistant, where="outside")
    method = evidence.track.method
    if "features" in method.card.uses and "layers" not in method.unused:
        probed = evidence.probe.layers if evidence.probe else None
        layers = method.card.layers(method.settings, evidence.models["student"].layers)
        yield sheet.row("teacher layers in the loss", layers, len(probed) if probed else None, where="outside")
        if evidence.critical:
            chosen = ", ".join(map(str, evidence.critical))
            yield sheet.row("critical teacher layers", chosen, ", ".join(probed) if probed else None, where="outside")


def _model(prediction: dict[str, Any]) -> str | None:
    """The class that the weights loaded into, and its size."""
    if "class" not in prediction:
        return None
    return f"{prediction['class']}, {prediction['parameters']:,} parameters"


def _measured(plan: Plan, tracks: Sequence[TrackResult]) -> Iterator[str]:
    proposed = [arm for track in tracks for arm in track.arms if arm.name == "proposed"]
    for metric in plan.metrics:
        if metric == "size_mb":
            found = bool(tracks)
        elif metric == "inference_ms":
            found = bool(proposed) and all(arm.latency for arm in proposed)
        else:
            found = bool(proposed) and all(metric in arm.summaries for arm in proposed)
        if found:
            yield metric


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list(values: Iterable[Any]) -> str | None:
    seen = list(values)
    return None if None in seen or not seen else str(seen)


def _same(values: Iterable[Any]) -> Any:
    """The value all trials agree on; None when one did not report it, a text with all of them when they differ."""
    seen = list(values)
    if not seen or None in seen:
        return None
    return seen[0] if all(value == seen[0] for value in seen) else ", ".join(map(_shown, seen))
