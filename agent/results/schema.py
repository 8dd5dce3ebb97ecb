"""Results: the record behind a report (results.json).

`Measured` has the observations. `conclude` adds the conclusions, by rule; nobody writes a verdict by hand, and anybody
can derive it again from the same file. Times are seconds, shares lie in [0, 1], sizes are megabytes of 10^6 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agent.frozen import Known, Record
from agent.plan.plan import Metric, Origin, Plan
from agent.results.score import Scores

PROPOSED = "proposed"


class Authorship(Record):
    """Who answered the agent's questions."""

    name: str
    model: str
    took_part: bool
    """Whether a language model took part, live or recorded."""


class Isolation(Record):
    backend: str
    level: int
    protects: tuple[str, ...]
    not_protected: tuple[str, ...]
    selftest: str = "not run"
    """Probes it withstood when the run began."""


class Split(Record):
    rows: int
    label_counts: dict[str, int]
    """Empty where labels are hidden, or where there are none: generated rows, texts of a corpus to learn from."""


class Data(Record):
    source: str
    revision: str
    hash: str
    splits: dict[str, Split]
    notes: tuple[str, ...]
    """Oddities a reader must know, such as rows left out."""
    overlap: str
    """Result of the search for test rows among the other rows."""


class Model(Record):
    architecture: str
    checkpoint: str
    """Empty: random initial weights."""
    parameters: int
    size_mb: float


class Assistant(Record):
    """A model between teacher and student: what it is, and what its training cost beside that of the arms."""

    model: Model
    scores: dict[str, float]
    steps: int
    seconds: float


SCHEMA: Literal[3] = 3
"""Of results.json. In 1 the executed cell of a method's setting was the plan's own value wherever train.py had read it;
since 2 it lists the seeds at which it was read. The sentences of 1 are in wording.py, its report in report-1.md.j2.
Since 3 rows that were shown too often deviate, and a claim names the checks that rest on the training's own word."""


class FieldRow(Record):
    """One hyperparameter, planned beside executed."""

    field: str
    planned: str
    executed: str
    origin: Origin
    status: Literal["MATCH", "DEVIATED", "NOT_SEEN"]
    where: Literal["in-process", "outside"] = "in-process"
    """In-process: the training process reported it about itself."""


class Summary(Record):
    """One metric over seeds; spread and interval need two seeds."""

    mean: float
    sd: float | None
    low: float | None
    """95 % t interval of the mean over seeds, cut to what the metric can be."""
    high: float | None
    n: int


class Trial(Record):
    seed: int
    scores: dict[str, float]


class Latency(Record):
    p50_ms: float
    p95_ms: float
    protocol: str
    """Device, threads, batch, warm-up and number of runs."""


class ArmResult(Record):
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


class Published(Record):
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


class TrackResult(Record):
    name: str
    data: Data
    teacher: Model
    student: Model
    fields: tuple[FieldRow, ...]
    arms: tuple[ArmResult, ...]
    teacher_scores: dict[str, float]
    majority_accuracy: float
    comparisons: tuple[Comparison, ...]
    guards: tuple[Guard, ...]
    gap: Gap | None
    published: tuple[Published, ...] = ()
    assistant: Assistant | None = None


class Attempt(Record):
    number: int
    commit: str
    summary: str = ""
    """The method that it is an edit for; absent while the run goes on."""
    outcome: Literal["kept", "discarded", "rejected"]
    dev_score: float | None
    """Mean primary metric on dev rows; absent when nothing was trained."""
    reason: str

    @classmethod
    def decided_fields(cls) -> tuple[str, ...]:
        """The fields of the event of its decision."""
        return tuple(name for name in cls.model_fields if name != "summary")


class Code(Record):
    original: str
    updated: str
    diff: str


class Measured(Record):
    """Every observation of a run."""

    schema_: Literal[1, 2, 3] = Field(SCHEMA, alias="schema")
    run: str
    status: Literal["complete", "partial", "failed", "cancelled"]
    status_reason: str
    created: str
    """UTC, ISO 8601."""
    version: str
    idea: str
    title: str
    source: Authorship
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
    """How often a trial of each final arm was evaluated on the test inputs (the most over its trials)."""
    seconds: dict[str, float]
    """Wall clock per phase; phases follow one another."""
    tokens: int
    command: str = ""
    """The command that starts the same run again."""
    warnings: tuple[str, ...] = ()
    """Warnings about the plan before anything trained."""
    deviations: tuple[str, ...] = ()
    """Departures from the plan that no hyperparameter row shows."""

    model_config = ConfigDict(populate_by_name=True)


class Finding(Record):
    """The conclusion of one track about the proposed arm."""

    track: str
    verdict: Verdict
    difference: str
    reason: str
    without_teacher: str
    """The same comparison with the student trained alone."""
    gap: str


class Results(Measured):
    """The observations of a run and the conclusions from them."""

    findings: tuple[Finding, ...]
    verdict: Verdict
    headline: str
    conclusion: str
    limitations: tuple[str, ...]

    @property
    def on_its_word(self) -> tuple[str, ...]:
        """Checks behind a claim that passed on the word of the process that trained; early schemas did not say."""
        if self.schema_ < 3 or self.verdict not in ("better", "worse"):
            return ()
        checks = [check for track in self.tracks for check in track.guards if check.where == "in-process"]
        return tuple(dict.fromkeys(check.name for check in checks if check.outcome == "pass"))


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


Verdict = Literal["better", "worse", "inconclusive", "invalid"]
Judged = Literal["accuracy", "precision", "recall", "f1"]

JUDGED: tuple[Judged, ...] = ("accuracy", "precision", "recall", "f1")


class Guard(Record):
    """A check of the run. One that could not run blocks every claim."""

    name: str
    where: Literal["in-process", "outside"]
    """In-process: it rests on the training process's own report."""
    outcome: Literal["pass", "fail", "not_run"]
    detail: str


class Comparison(Record):
    """One metric of two arms. Shares lie in [0, 1]."""

    model_config = ConfigDict(allow_inf_nan=False)

    proposed: str
    benchmark: str
    metric: Metric
    n_seeds: int
    n_examples: int
    mean_proposed: float
    mean_benchmark: float
    difference: float
    low: float
    """95 % interval of the difference: bootstrap over seeds and examples, percentiles."""
    high: float
    resamples: int
    p_sign_flip: float
    """Exact two-sided level over seeds."""
    least_p: float
    """The smallest level that many seeds can reach."""
    p_holm: float
    """The level after Holm's correction; of the primary metric, the raw level."""
    mcnemar: tuple[float, ...] = ()
    """Exact level per seed over examples, for accuracy only. Shown, not judged."""
    verdict: Verdict = "inconclusive"
    reason: str = "Not judged."


class Gap(Record):
    """What distillation could gain: the teacher's accuracy minus the plain student's."""

    model_config = ConfigDict(allow_inf_nan=False)

    teacher: float
    student: float
    difference: float
    standard_error: float
    significant: bool
    """Whether the difference is at least two standard errors."""
    note: str


About = Literal["plan", "report"]
Decision = Literal["approve", "reject", "comment"]
LONGEST = 4000  # characters of a comment


class Review(Record):
    about: About
    subject: str
    """Hash of the plan, or of the results behind the report."""
    decision: Decision
    text: Annotated[str, Field(max_length=LONGEST)] = ""
    author: Annotated[str, Field(min_length=1, max_length=200)]
    time: str
    """UTC, ISO 8601."""


class Reviews(Record):
    schema_: Literal[1] = Field(1, alias="schema")
    reviews: tuple[Review, ...]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
