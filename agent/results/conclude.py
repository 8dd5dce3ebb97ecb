"""From measurements to findings, verdict, conclusion and limitations, by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.figures import count, figure
from agent.plan.arms import ALONE
from agent.plan.plan import Plan
from agent.results.schema import PROPOSED, ArmResult, Comparison, Finding, Measured, Results, TrackResult, Verdict
from agent.statistics import fewest_seeds, least_p


def conclude(measured: Measured) -> Results:
    """The findings, verdict, conclusion and limitations that follow from the measurements."""
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
    alone = _compared(track, ALONE.name, plan)
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


def limitations(measured: Measured) -> Iterator[str]:
    """Limits that a reader must know, from the facts of this run."""
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
        yield f"Every statement about variation between seeds rests on {count(n, 'seed')}."


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
        yield f"{track.name}: the teacher is not clearly above the plain student, so distillation has little to gain."
    for name in dict.fromkeys(guard.name for guard in track.guards if guard.outcome == "not_run"):
        yield f"{track.name}: the check {name} could not run."
    if unseen := sum(row.status == "NOT_SEEN" for row in track.fields):
        yield f"{track.name}: {count(unseen, 'planned field')} could not be seen in the execution."
    for arm in track.arms:
        yield from _arm_limits(track.name, arm)


def _arm_limits(track: str, arm: ArmResult) -> Iterator[str]:
    if arm.failures:
        yield f"{track}: {count(len(arm.failures), 'trial')} of {arm.name} did not finish."
    if arm.latency is None:
        yield f"{track}: the latency of {arm.name} was not measured."


def _design_limits(plan: Plan) -> Iterator[str]:
    yield "All seeds share one labelled subset, one split and one teacher per track: how those vary was not measured."
    tried = f"; the proposed arm is the best on dev rows of {plan.attempts} attempts" if plan.attempts > 1 else ""
    yield f"The arm {plan.benchmark} was not tuned: it runs with the plan's settings{tried}."
    if len(plan.tracks) == 1:
        yield "One task was tried; the results may not carry over to others."


def _trust_limits(measured: Measured) -> Iterator[str]:
    isolation = measured.isolation
    for gap in isolation.not_protected:
        yield f"Isolation ({isolation.backend}, level {isolation.level}) does not protect: {gap}"
    inside = {g.name: None for track in measured.tracks for g in track.guards if g.where == "in-process"}
    if inside:
        yield f"These checks rest on the training process's own report: {', '.join(inside)}."
    for arm, times in measured.exposures.items():
        if times > 1:
            yield f"Trials of {arm} were evaluated on the test inputs {times} times; one evaluation was planned."
    if unknown := [name for name, known in measured.environment.items() if known.value is None]:
        yield f"Unknown about the environment: {', '.join(unknown)}."
