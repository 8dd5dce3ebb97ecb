"""Results: the record behind a report (results.json, schema 1), and the sentences that follow from it.

`Measured` holds what was seen. `conclude` adds what follows, by rule; nobody writes a verdict by hand, and anybody can
derive it again from the same file. Times are seconds, shares lie in [0, 1], sizes are megabytes of 10^6 bytes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from agent.compare import Comparison, Gap, Guard, Verdict, count, fewest_seeds, least_p
from agent.plan import Origin, Plan, Record
from agent.score import Scores, figure

PUBLISHED = Path(__file__).parents[1] / "baselines" / "published.toml"
PROPOSED = "proposed"


class Fact(Record):
    """A frozen record in which every number is finite: what is unknown is absent and says why."""

    model_config = ConfigDict(allow_inf_nan=False)


class Source(Fact):
    """Who answered the agent's questions."""

    name: str
    model: str
    took_part: bool
    """Whether a language model took part, live or recorded."""


class Isolation(Fact):
    backend: str
    level: int
    protects: tuple[str, ...]
    not_protected: tuple[str, ...]
    selftest: str = "not run"
    """Probes it withstood when the run began."""


class Known(Fact):
    """A value of the environment, or the reason why it is unknown."""

    value: str | None = None
    reason: str = ""


class Split(Fact):
    rows: int
    label_counts: dict[str, int]
    """Empty where labels are hidden, or where there are none: generated rows, texts of a corpus to learn from."""


class Data(Fact):
    source: str
    revision: str
    hash: str
    splits: dict[str, Split]
    notes: tuple[str, ...]
    """Oddities a reader must know, such as rows left out."""
    overlap: str
    """What the search for test rows among the other rows found."""


class Model(Fact):
    architecture: str
    checkpoint: str
    """Empty: random initial weights."""
    parameters: int
    size_mb: float


class Assistant(Fact):
    """A model between teacher and student: what it is, and what its training cost beside that of the arms."""

    model: Model
    scores: dict[str, float]
    steps: int
    seconds: float


class FieldRow(Fact):
    """One hyperparameter, planned beside executed."""

    field: str
    planned: str
    executed: str
    origin: Origin
    status: Literal["MATCH", "DEVIATED", "NOT_SEEN"]
    where: Literal["in-process", "outside"] = "in-process"
    """In-process: the training process said it about itself."""


class Summary(Fact):
    """One metric over seeds; spread and interval need two seeds."""

    mean: float
    sd: float | None
    low: float | None
    """95 % t interval of the mean over seeds, cut to what the metric can be."""
    high: float | None
    n: int


class Trial(Fact):
    seed: int
    scores: dict[str, float]


class Latency(Fact):
    p50_ms: float
    p95_ms: float
    protocol: str
    """Device, threads, batch, warm-up and number of runs."""


class Arm(Fact):
    name: str
    method: str
    commit: str
    summaries: dict[str, Summary]
    trials: tuple[Trial, ...]
    latency: Latency | None
    seconds: float
    disagreements: tuple[str, ...] = ()
    """Where numbers the training process reported differ from the measured ones."""
    failures: tuple[str, ...] = ()
    """Trials that did not finish, and why."""


class Published(Fact):
    """A figure somebody else reported. It is never mixed with measured ones."""

    task: str
    model: str
    metric: Literal["accuracy", "precision", "recall", "f1"]
    value: float
    protocol: str
    seeds: int | None = None
    """Not stated by the source when absent."""
    source: str
    date: str
    """When the source was read."""


class TrackResult(Fact):
    name: str
    data: Data
    teacher: Model
    student: Model
    fields: tuple[FieldRow, ...]
    arms: tuple[Arm, ...]
    teacher_scores: dict[str, float]
    majority_accuracy: float
    comparisons: tuple[Comparison, ...]
    guards: tuple[Guard, ...]
    gap: Gap | None
    published: tuple[Published, ...] = ()
    assistant: Assistant | None = None


class Attempt(Fact):
    number: int
    commit: str
    summary: str
    outcome: Literal["kept", "discarded", "rejected"]
    dev_score: float | None
    """Mean primary metric on dev rows; absent when nothing was trained."""
    reason: str


class Code(Fact):
    original: str
    updated: str
    diff: str


class Measured(Fact):
    """Everything a run saw."""

    schema_: Literal[1] = Field(1, alias="schema")
    run: str
    status: Literal["complete", "partial", "failed", "cancelled"]
    status_reason: str
    created: str
    """UTC, ISO 8601."""
    version: str
    idea: str
    title: str
    source: Source
    plan: Plan
    plan_hash: str
    isolation: Isolation
    environment: dict[str, Known]
    fields: tuple[FieldRow, ...] = ()
    """Planned beside executed for what belongs to no single track."""
    tracks: tuple[TrackResult, ...]
    attempts: tuple[Attempt, ...]
    code: Code
    exposures: dict[str, int]
    """How often a trial of each final arm met the test inputs (the most over its trials)."""
    seconds: dict[str, float]
    """Wall clock per phase; phases follow one another."""
    tokens: int
    command: str = ""
    """Asks for the same run again."""
    warnings: tuple[str, ...] = ()
    """What the lints said about the plan before anything trained."""
    deviations: tuple[str, ...] = ()
    """Departures from the plan that no hyperparameter row shows."""

    model_config = ConfigDict(populate_by_name=True)


class Finding(Fact):
    """What one track says about the proposed arm."""

    track: str
    verdict: Verdict
    difference: str
    reason: str
    without_teacher: str
    """The same comparison with the student trained alone."""
    gap: str


class Results(Measured):
    """What a run saw and what follows from it."""

    findings: tuple[Finding, ...]
    verdict: Verdict
    headline: str
    conclusion: str
    limitations: tuple[str, ...]


def conclude(measured: Measured) -> Results:
    """The findings, verdict, conclusion and limitations that follow from what was measured."""
    findings = tuple(finding(measured, track.name) for track in measured.plan.tracks)
    verdict, sentence = headline(findings, measured.plan.benchmark)
    facts = {name: getattr(measured, name) for name in Measured.model_fields}
    return Results(
        **facts,
        findings=findings,
        verdict=verdict,
        headline=sentence,
        conclusion=conclusion(measured.plan, verdict, sentence),
        limitations=tuple(limitations(measured)),
    )


def finding(measured: Measured, name: str) -> Finding:
    """The verdict of one planned track; a run that is not complete makes no claim."""
    plan = measured.plan
    track = next((track for track in measured.tracks if track.name == name), None)
    main = _compared(track, plan.benchmark, plan)
    alone = _compared(track, "student_only", plan)
    verdict, reason = _claim(measured, main)
    return Finding(
        track=name,
        verdict=verdict,
        difference=difference(main) if main else "not measured",
        reason=reason,
        without_teacher=f"{difference(alone)} ({alone.verdict})" if alone else "not measured",
        gap=track.gap.note if track and track.gap else "The gap between teacher and plain student was not measured.",
    )


def _compared(track: TrackResult | None, benchmark: str, plan: Plan) -> Comparison | None:
    """The primary metric of the proposed arm beside `benchmark`."""
    wanted = (PROPOSED, benchmark, plan.primary_metric)
    found = (c for c in track.comparisons if (c.proposed, c.benchmark, c.metric) == wanted) if track else iter(())
    return next(found, None)


def _claim(measured: Measured, comparison: Comparison | None) -> tuple[Verdict, str]:
    if comparison is None:
        return "inconclusive", f"The comparison with {measured.plan.benchmark} was not made."
    if measured.status != "complete" and comparison.verdict in ("better", "worse"):
        return "inconclusive", f"The run is {measured.status} ({measured.status_reason}), so it makes no claim."
    return comparison.verdict, comparison.reason


def difference(c: Comparison) -> str:
    """A comparison in one line: `accuracy +9.75 points [8.12, 11.42], n=6 seeds × 400 examples`."""
    size = f"n={count(c.n_seeds, 'seed')} × {count(c.n_examples, 'example')}"
    return f"{c.metric} {figure(c.difference, 'points')} {figure_interval(c)}, {size}"


def figure_interval(c: Comparison) -> str:
    """The 95 % interval of a difference in points."""
    return f"[{100 * c.low:.2f}, {100 * c.high:.2f}]"


def headline(findings: Sequence[Finding], benchmark: str) -> tuple[Verdict, str]:
    """The verdict over all tracks, the most cautious one that fits, and its sentence."""
    said = {f.verdict: [g.track for g in findings if g.verdict == f.verdict] for f in findings}
    if "invalid" in said:
        return "invalid", f"No comparison stands: a check failed on {_and(said['invalid'])}."
    if set(said) == {"better"}:
        return "better", f"The proposed arm is better than {benchmark} on {_and(said['better'])}."
    if "worse" in said and "better" not in said:
        return "worse", f"The proposed arm is worse than {benchmark} on {_and(said['worse'])}."
    if set(said) == {"inconclusive"}:
        return "inconclusive", f"Whether the proposed arm differs from {benchmark} is open."
    return "inconclusive", "The tracks do not agree: " + "; ".join(
        f"{v} on {_and(said[v])}" for v in sorted(said)
    ) + "."


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def conclusion(plan: Plan, verdict: Verdict, sentence: str) -> str:
    """The sentence a reader may quote."""
    hypothesis = {
        "better": "The hypothesis is supported",
        "worse": "The hypothesis is contradicted",
        "inconclusive": "The hypothesis is neither supported nor contradicted",
        "invalid": "Nothing can be concluded about the hypothesis",
    }[verdict]
    return f"{hypothesis}, as tested by {plan.primary_metric} of proposed against {plan.benchmark}. {sentence}"


def summaries(trials: Sequence[Scores]) -> dict[str, Summary]:
    """Every metric of one arm over its seeds."""
    return {name: summary(name, [trial.metrics[name] for trial in trials]) for name in trials[0].metrics}


def summary(metric: str, values: Sequence[float]) -> Summary:
    """Mean, standard deviation (n − 1) and 95 % t interval."""
    import numpy as np
    from scipy.stats import t

    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(mean=mean, sd=None, low=None, high=None, n=1)
    sd = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, n - 1)) * sd / n**0.5
    most = float("inf") if metric == "nll" else 1.0
    return Summary(mean=mean, sd=sd, low=max(0.0, mean - half), high=min(most, mean + half), n=n)


def published(task: str, path: Path = PUBLISHED) -> tuple[Published, ...]:
    """Figures others reported for `task`, in the order of the file."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["figure"]
    return tuple(Published(**row) for row in rows if row["task"] == task)


def limitations(measured: Measured) -> Iterator[str]:
    """What a reader must not take for granted, from the facts of this run."""
    if measured.status != "complete":
        yield f"The run is {measured.status}: {measured.status_reason}. It makes no claim."
    yield from _few_seeds(measured.plan)
    for track in measured.tracks:
        yield from _track_limits(track, measured.plan)
    yield from _design_limits(measured.plan)
    yield from _trust_limits(measured)


def _few_seeds(plan: Plan) -> Iterator[str]:
    n = len(plan.seeds)
    if least_p(n) >= plan.level:
        yield (
            f"With {count(n, 'seed')} no exact test over seeds can reach the level {plan.level:g}; "
            f"{fewest_seeds(plan.level)} are the fewest that can."
        )
    else:
        yield f"What is said about variation between seeds rests on {count(n, 'seed')}."


def _track_limits(track: TrackResult, plan: Plan) -> Iterator[str]:
    task = plan.track(track.name).task
    n = task.test_rows
    if n < 2000:
        yield f"{track.name}: the test has {count(n, 'example')}; each is worth {100 / n:.2f} points of accuracy."
    if task.generated_rows:
        yield (
            f"{track.name}: generated rows that equal a dev or test row were left out; those that only resemble one "
            "were not looked for. Texts of random words, which can be worth as much, were not tried."
        )
    if task.source.startswith("embedded"):
        yield (
            f"{track.name}: the data ship with installed packages; where a trial can read those, "
            "edited code could derive the test labels again."
        )
    if track.gap and not track.gap.significant:
        yield f"{track.name}: the teacher is not clearly above the plain student, so distillation has little to win."
    for name in dict.fromkeys(guard.name for guard in track.guards if guard.outcome == "not_run"):
        yield f"{track.name}: the check {name} could not run."
    if unseen := sum(row.status == "NOT_SEEN" for row in track.fields):
        yield f"{track.name}: {count(unseen, 'planned field')} could not be seen in the execution."
    for arm in track.arms:
        yield from _arm_limits(track.name, arm)


def _arm_limits(track: str, arm: Arm) -> Iterator[str]:
    if arm.failures:
        yield f"{track}: {count(len(arm.failures), 'trial')} of {arm.name} did not finish."
    if arm.latency is None:
        yield f"{track}: the latency of {arm.name} was not measured."


def _design_limits(plan: Plan) -> Iterator[str]:
    yield "All seeds share one labelled subset, one split and one teacher per track: how those vary was not measured."
    tried = f"; the proposed arm is the best on dev rows of {plan.attempts} attempts" if plan.attempts > 1 else ""
    yield f"The arm {plan.benchmark} was not tuned: it runs with the plan's settings{tried}."
    if len(plan.tracks) == 1:
        yield "One task was tried; nothing is said about others."


def _trust_limits(measured: Measured) -> Iterator[str]:
    isolation = measured.isolation
    for gap in isolation.not_protected:
        yield f"Isolation ({isolation.backend}, level {isolation.level}) does not protect: {gap}"
    inside = {g.name: None for track in measured.tracks for g in track.guards if g.where == "in-process"}
    if inside:
        yield f"These checks rest on what the training process said about itself: {', '.join(inside)}."
    for arm, times in measured.exposures.items():
        if times > 1:
            yield f"Trials of {arm} met the test inputs {times} times; a single look was planned."
    if unknown := [name for name, known in measured.environment.items() if known.value is None]:
        yield f"Unknown about the environment: {', '.join(unknown)}."
