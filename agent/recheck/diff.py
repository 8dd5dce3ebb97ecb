"""The difference between two runs: plan, code, environment, data, and the two proposed arms where they can be compared.

Arms of two runs are paired as arms of one run are: same rows, same seeds, second minus first. Where that cannot be done
the reason is given instead.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.errors import UsageError
from agent.plan.plan import Plan, Track
from agent.plan.read import plan_of
from agent.record.paths import RunPaths, attempt_name
from agent.results.compare import compare, judge
from agent.results.conclude import difference
from agent.results.read import results_of
from agent.results.report import show
from agent.results.run_record import tensor
from agent.results.schema import Comparison, Results
from agent.results.score import Scores, score

ABSENT = "absent"
DATA = (
    "source",
    "revision",
    "hash",
    "encoded",
    "train_rows",
    "transfer_rows",
    "generated_rows",
    "dev_rows",
    "test_rows",
)


@dataclass(frozen=True)
class Change:
    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Metrics:
    """One track: comparisons of the second run's proposed arm with the first's, or why there are none."""

    track: str
    comparisons: tuple[Comparison, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    first: str
    second: str
    plan: tuple[Change, ...]
    data: tuple[Change, ...]
    environment: tuple[Change, ...]
    code: str
    """Unified diff of the proposed arms' train.py."""
    metrics: tuple[Metrics, ...]

    def to_json(self) -> dict[str, object]:
        said = [{"track": m.track, "reason": m.reason, "comparisons": _dumped(m.comparisons)} for m in self.metrics]
        return {"schema": 1} | asdict(self) | {"metrics": said}

    def lines(self) -> Iterator[str]:
        """The text for a terminal."""
        yield f"first:  {self.first}"
        yield f"second: {self.second}"
        for title, changes in (("plan", self.plan), ("data", self.data), ("environment", self.environment)):
            yield from ("", title if changes else f"{title}: no difference")
            yield from (f"  {each.name}: {each.first} → {each.second}" for each in changes)
        yield from ("", "code" if self.code else "code: no difference", *self.code.splitlines())
        for track in self.metrics:
            yield from ("", f"metrics on {track.track}: second minus first")
            yield from (f"  {_sentence(each)}" for each in track.comparisons)
            yield from [f"  not comparable: {track.reason}"] * bool(track.reason)


def between(first: RunPaths, second: RunPaths) -> Difference:
    """Raises UsageError for a run without a plan, DataError for a record that cannot be read."""
    plans, found = (_plan(first), _plan(second)), (results_of(first), results_of(second))
    ours, theirs = (results.environment if results else {} for results in found)
    return Difference(
        first=first.id,
        second=second.id,
        plan=_changes(*(_fields(plan) for plan in plans)),
        data=_changes(*(_data(plan) for plan in plans)),
        environment=_changes(*({n: k.value or k.reason for n, k in known.items()} for known in (ours, theirs))),
        code=_code(*found),
        metrics=tuple(_metrics(name, (first, second), plans, found) for name in _tracks(*plans)),
    )


def plan_changes(first: Plan, second: Plan) -> tuple[Change, ...]:
    """Every field of the plans and of their data that differs."""
    return (*_changes(_fields(first), _fields(second)), *_changes(_data(first), _data(second)))


def _plan(paths: RunPaths) -> Plan:
    plan = plan_of(paths)
    if not plan:
        raise UsageError(f"run {paths.id} has no plan yet", "runs are compared by their plans first")
    return plan


def _changes(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Change, ...]:
    pairs = ((name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in {**first, **second})
    return tuple(Change(*pair) for pair in pairs if pair[1] != pair[2])


def _fields(plan: Plan) -> dict[str, str]:
    """Every field of a plan by its dotted path; tracks by name, their data apart. A setting that came after the plan
    has its default: a record does not differ by what was not there to be written down."""
    values = plan.model_dump(mode="json", by_alias=True, exclude={"provenance", "tracks"})
    tracks = {
        track.name: _whole(track).model_dump(mode="json", exclude={"name": True, "task": set(DATA)})
        for track in plan.tracks
    }
    return dict(_leaves("", values | tracks))


def _whole(track: Track) -> Track:
    methods = {"method": track.method.whole, "reference": track.reference and track.reference.whole}
    return track.model_copy(update=methods)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, item)
    else:
        yield path, str(value)


def _data(plan: Plan) -> dict[str, str]:
    return {f"{track.name}.{name}": str(getattr(track.task, name)) for track in plan.tracks for name in DATA}


def _code(first: Results | None, second: Results | None) -> str:
    ours, theirs = (results.code.updated.splitlines(keepends=True) if results else [] for results in (first, second))
    return "".join(difflib.unified_diff(ours, theirs, "first/train.py", "second/train.py"))


def _tracks(first: Plan, second: Plan) -> list[str]:
    return list(dict.fromkeys(track.name for track in (*first.tracks, *second.tracks)))


def _metrics(
    name: str,
    paths: tuple[RunPaths, RunPaths],
    plans: tuple[Plan, Plan],
    found: tuple[Results | None, Results | None],
) -> Metrics:
    if reason := _obstacle(name, paths, plans, found):
        return Metrics(name, reason=reason)
    ours, theirs = (_scores(*each, name) for each in zip(paths, plans, found, strict=True))
    second = plans[1]
    checks = [g for results in found if results for t in results.tracks if t.name == name for g in t.guards]
    compared = compare(paths[1].id, paths[0].id, theirs, ours)
    return Metrics(
        name, judge(compared, list(dict.fromkeys(checks)), second.primary_metric, second.least_effect, second.level)
    )


def _obstacle(
    name: str,
    paths: tuple[RunPaths, RunPaths],
    plans: tuple[Plan, Plan],
    found: tuple[Results | None, Results | None],
) -> str:
    """The reason why the proposed arms of a track cannot be paired, or ""."""
    tracks = [next((track for track in plan.tracks if track.name == name), None) for plan in plans]
    for run, plan, results, track in zip(paths, plans, found, tracks, strict=True):
        if not track:
            return f"{run.id} has no track {name}"
        if missing := _missing(run, plan, results, name):
            return f"{run.id} {missing}"
    ours, theirs = tracks
    if ours and theirs and (differs := _same_rows(ours, theirs)):
        return differs
    seeds, others = (list(plan.seeds) for plan in plans)
    return "" if seeds == others else f"the seeds differ: {seeds} and {others}"


def _missing(paths: RunPaths, plan: Plan, results: Results | None, track: str) -> str:
    """The reason why a run cannot be compared at all, or ""."""
    kept = _kept(results)
    if not kept:
        return "has no proposed arm that was measured"
    wanted = [paths.label_file(track, "test"), *(_logits(paths, kept, track, seed) for seed in plan.seeds)]
    gone = [path for path in wanted if not path.exists()]
    return f"lacks {gone[0].relative_to(paths.folder)}" if gone else ""


def _same_rows(ours: Track, theirs: Track) -> str:
    """The reason why two tracks are not scored on the same rows, or ""."""
    for name, said in (("hash", "the data differ"), ("test_rows", "the test rows differ")):
        values = [str(getattr(track.task, name))[:12] for track in (ours, theirs)]
        if values[0] != values[1]:
            return f"{said}: {name} {values[0]} and {values[1]}"
    return ""


def _kept(results: Results | None) -> int:
    """The attempt that became the proposed arm, or 0."""
    kept = [attempt.number for attempt in results.attempts if attempt.outcome == "kept"] if results else []
    return kept[-1] if kept else 0


def _logits(paths: RunPaths, attempt: int, track: str, seed: int) -> Any:
    return paths.trial(attempt_name(attempt), track, seed) / "test.safetensors"


def _scores(paths: RunPaths, plan: Plan, results: Results | None, track: str) -> list[Scores]:
    labels = tensor(paths.label_file(track, "test"), "labels")
    files = (_logits(paths, _kept(results), track, seed) for seed in plan.seeds)
    return [score(tensor(path, "logits"), labels) for path in files]


def _dumped(comparisons: tuple[Comparison, ...]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json") for each in comparisons]


def _sentence(c: Comparison) -> str:
    values = f"{show(c.metric, c.mean_benchmark)} → {show(c.metric, c.mean_proposed)}"
    return f"{values}; {difference(c)}: {c.verdict}. {c.reason}"
