"""What happened, beside what was planned: fields read back from the live trainer, and guards with three outcomes.

A trial's trace is evidence from inside the process that edited code ran in; what prediction and the harness saw is
evidence from outside. Each guard says which it is. A guard that could not run is `not_run`, and blocks the claim.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from agent.compare import Guard
from agent.paths import RunPaths
from agent.plan import Plan, Track
from agent.results import FieldRow
from sandbox import intake
from sandbox.errors import IntakeRejected

EXECUTED = {
    "training.learning_rate": "learning_rate",
    "training.batch_size": "batch_size",
    "training.optimizer": "optimizer",
    "training.weight_decay": "weight_decay",
    "training.max_grad_norm": "max_grad_norm",
    "training.accumulation": "accumulation",
    "training.precision": "precision",
}
"""Plan field → name in the trace's `executed`."""
READ = {
    "kd": ("temperature", "alpha"),
    "kd_selective": ("temperature", "alpha", "beta", "layers", "layer_map", "signal", "norm", "init_layers"),
}
CHANCE_LEVEL = 0.01


class TrialRecord:
    """One trial as the run holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = _json(folder / "trial.json")
        self.prediction = _json(folder / "test.json")
        try:
            self.lines = intake.read_lines(folder, "trace.jsonl")
        except IntakeRejected:  # no trace, or none that can be read: then nothing was seen
            self.lines = []

    def line(self, event: str) -> dict[str, Any]:
        return next((line for line in self.lines if line.get("event") == event), {})

    def said(self, event: str, name: str) -> dict[str, Any]:
        """An object of the first line of that event; {} where the trial wrote something else there."""
        found = self.line(event).get(name)
        return found if isinstance(found, dict) else {}

    @property
    def executed(self) -> dict[str, Any]:
        return self.said("start", "executed")

    @property
    def failure(self) -> str:
        if self.report.get("status") != "ok":
            return str(self.report.get("error", "no report"))
        return "" if self.prediction.get("status", "ok") == "ok" else str(self.prediction["error"])

    @property
    def claims(self) -> dict[str, float]:
        """Metrics the training process reported about itself."""
        lines = [line.get("metrics") for line in self.lines if line.get("event") == "claimed"]
        return {k: v for line in lines if isinstance(line, dict) for k, v in line.items() if isinstance(v, int | float)}


def trials(paths: RunPaths, plan: Plan, arm: str, track: str) -> list[TrialRecord]:
    return [TrialRecord(paths.trial(arm, track, seed)) for seed in plan.seeds]


def fields(plan: Plan, track: Track, records: Sequence[TrialRecord]) -> tuple[FieldRow, ...]:
    """Planned beside executed for every hyperparameter of the proposed arm."""
    rows = [_training_row(plan, track, path, name, records) for path, name in EXECUTED.items()]
    rows.append(
        _row(plan, track, "training.epochs", f"{track.training.epochs:g} ({track.steps} steps)", _steps(track, records))
    )
    warmup = round(track.training.warmup * track.steps)
    rows.append(
        _row(
            plan,
            track,
            "training.warmup",
            f"{track.training.warmup:g} ({warmup} steps)",
            _same(r.executed.get("warmup") for r in records),
            match=warmup,
        )
    )
    seeds = [record.executed.get("seed") for record in records]
    rows.append(_row(plan, track, "seeds", str(list(plan.seeds)), None if None in seeds else str(seeds)))
    rows += [_method_row(plan, track, name, records) for name in READ.get(track.method.name, ())]
    return tuple(rows)


def _training_row(plan: Plan, track: Track, path: str, name: str, records: Sequence[TrialRecord]) -> FieldRow:
    planned = getattr(track.training, path.split(".")[1])
    return _row(plan, track, path, _shown(planned), _same(r.executed.get(name) for r in records), match=planned)


def _steps(track: Track, records: Sequence[TrialRecord]) -> str | None:
    """In the planned words when every trial ended at the planned step."""
    done = _same(record.line("end").get("step") for record in records)
    return f"{track.training.epochs:g} ({done} steps)" if done is not None else None


def _method_row(plan: Plan, track: Track, name: str, records: Sequence[TrialRecord]) -> FieldRow:
    """A method setting cannot be read back from a loss; that train.py read the plan's value at every seed can."""
    planned = _shown(getattr(track.method, name))
    reads = [record.said("end", "reads").get(name, 0) for record in records]
    return _row(plan, track, f"method.{name}", planned, planned if reads and all(reads) else None)


def _row(plan: Plan, track: Track, path: str, planned: str, executed: Any, match: Any = None) -> FieldRow:
    origin = plan.provenance.get(path if path in plan.provenance else f"tracks.{track.name}.{path}", "default")
    if executed is None:
        status: Literal["MATCH", "DEVIATED", "NOT_SEEN"] = "NOT_SEEN"
    else:
        status = "MATCH" if executed == (planned if match is None else match) else "DEVIATED"
    shown = "not seen" if executed is None else planned if status == "MATCH" else _shown(executed)
    return FieldRow(field=path, planned=planned, executed=shown, origin=origin, status=status)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same(values: Iterator[Any]) -> Any:
    """The value all trials agree on; None when one did not say, a text with all of them when they differ."""
    seen = list(values)
    if not seen or None in seen:
        return None
    return seen[0] if all(value == seen[0] for value in seen) else ", ".join(map(_shown, seen))


def guards(
    plan: Plan,
    track: Track,
    arms: dict[str, list[TrialRecord]],
    rows: Sequence[FieldRow],
    teacher_same: bool,
    accuracies: dict[str, list[float]],
    majority: float,
    overlap: int,
) -> tuple[Guard, ...]:
    """Every check of one track."""
    proposed = arms["proposed"]
    return (
        _complete(arms),
        _plan_executed(rows),
        _same_start(plan, arms),
        _weights_moved(arms),
        *(_teacher_used(proposed) if track.method.name != "finetune" else ()),
        Guard(
            name="teacher unchanged",
            where="outside",
            outcome="pass" if teacher_same else "fail",
            detail="the hash of its weights file before and after the trials",
        ),
        Guard(
            name="no test row among the others",
            where="outside",
            outcome="fail" if overlap else "pass",
            detail=f"{overlap} training, transfer and dev rows equal a test row (case and blanks ignored)",
        ),
        _above_chance(accuracies, majority, track.task.test_rows),
    )


def _guard(name: str, where: Literal["in-process", "outside"], problems: Sequence[str], fine: str) -> Guard:
    return Guard(name=name, where=where, outcome="fail" if problems else "pass", detail="; ".join(problems[:3]) or fine)


def _complete(arms: dict[str, list[TrialRecord]]) -> Guard:
    problems = [f"{name}: {r.failure[:120]}" for name, records in arms.items() for r in records if r.failure]
    count = sum(map(len, arms.values()))
    return _guard(
        "every trial finished", "outside", problems, f"{count} trials left weights that load in the planned model"
    )


def _plan_executed(rows: Sequence[FieldRow]) -> Guard:
    deviated = [f"{row.field}: planned {row.planned}, seen {row.executed}" for row in rows if row.status == "DEVIATED"]
    unseen = [row.field for row in rows if row.status == "NOT_SEEN"]
    if unseen and not deviated:
        return Guard(
            name="executed as planned", where="in-process", outcome="not_run", detail=f"not seen: {', '.join(unseen)}"
        )
    return _guard("executed as planned", "in-process", deviated, f"{len(rows)} fields read back from the live trainer")


def _same_start(plan: Plan, arms: dict[str, list[TrialRecord]]) -> Guard:
    """Arms of one seed start from the same weights: those the seed gives when they are built again, outside."""
    problems = [
        f"{name} seed {seed} started from other weights"
        for name, records in arms.items()
        for seed, r in zip(plan.seeds, records, strict=True)
        if not r.failure and r.report.get("initial") != r.prediction.get("initial")
    ]
    return _guard(
        "same initial weights", "in-process", problems, "each trial's start equals the seed's, built again outside"
    )


def _weights_moved(arms: dict[str, list[TrialRecord]]) -> Guard:
    problems = [
        f"{name}: the trained weights equal the initial ones"
        for name, records in arms.items()
        for r in records
        if not r.failure and not r.prediction.get("change")
    ]
    return _guard(
        "weights changed", "outside", problems, "the distance from the initial weights is above zero in every trial"
    )


def _teacher_used(records: Sequence[TrialRecord]) -> Iterator[Guard]:
    first = [record.said("log", "terms") for record in records]
    if not all("distillation" in terms for terms in first):
        yield Guard(
            name="distillation term",
            where="in-process",
            outcome="not_run",
            detail='train.py logs no term called "distillation", so its use of the teacher cannot be seen',
        )
        return
    problems = ["the distillation term is zero from the start"] if any(not t["distillation"] for t in first) else []
    yield _guard("distillation term", "in-process", problems, "it was logged, and not zero, in every trial")


def _above_chance(accuracies: dict[str, list[float]], majority: float, rows: int) -> Guard:
    """Exact binomial test of each arm's mean accuracy against always answering the most frequent class."""
    from scipy.stats import binomtest

    problems = [
        f"{name}: {sum(values) / len(values):.3f} is not above the majority class, {majority:.3f}"
        for name, values in accuracies.items()
        if values
        and binomtest(round(sum(values) / len(values) * rows), rows, majority, "greater").pvalue > CHANCE_LEVEL
    ]
    return _guard("above chance", "outside", problems, "every arm beats the majority class")


def disagreements(records: Sequence[TrialRecord], accuracies: Sequence[float], seeds: Sequence[int]) -> tuple[str, ...]:
    """Accuracies the training process claimed that differ from the measured ones by half a point or more."""
    found = []
    for record, measured, seed in zip(records, accuracies, seeds, strict=False):
        for name, claimed in record.claims.items():
            if name.endswith("accuracy") and isinstance(claimed, int | float) and abs(claimed - measured) >= 0.005:
                found.append(f"seed {seed} claimed {name} {claimed:.4f}, measured on the test rows {measured:.4f}")
    return tuple(found)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
