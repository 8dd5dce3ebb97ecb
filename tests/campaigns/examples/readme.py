"""What README shows of an example: the output of the run, and a table of its results."""

from collections.abc import Iterator

from agent.figures import figure
from agent.results.conclude import figure_interval
from agent.results.report import show
from agent.results.schema import PROPOSED, Results, TrackResult

HEAD = """\
| task | teacher | student alone | vanilla distillation | the idea | idea minus vanilla [95 % interval] | verdict |
|---|---|---|---|---|---|---|"""
ARMS = ("student_only", "vanilla_kd", PROPOSED)


def table(results: Results) -> str:
    """Test accuracy of each track, mean over seeds."""
    return "\n".join([HEAD, *(f"| {' | '.join(_cells(results, track))} |" for track in results.tracks)])


def _cells(results: Results, track: TrackResult) -> Iterator[str]:
    means = {arm.name: arm.summaries["accuracy"].mean for arm in track.arms}
    wanted = (PROPOSED, results.plan.benchmark, results.plan.primary_metric)
    [main] = (c for c in track.comparisons if (c.proposed, c.benchmark, c.metric) == wanted)
    yield track.name
    yield show("accuracy", track.teacher_scores["accuracy"])
    yield from (show("accuracy", means[arm]) for arm in ARMS)
    yield f"{figure(main.difference, 'points')} {figure_interval(main)}"
    yield main.verdict


def output(results: Results) -> str:
    """What the run printed, cut short and indented as README shows it."""
    isolation = results.isolation
    lines = (
        f'$ kdagent run "{results.idea}" --yes',
        f"run {results.run}",
        f"isolation: {isolation.backend}, level {isolation.level}, self-test {isolation.selftest}",
        "…",
        f"Plan {results.plan_hash[:12]}: {results.title}",
        "…",
        f"{results.verdict}: {results.conclusion}",
        f"run: {results.run}",
        f"report: runs/{results.run}/report.md",
    )
    return "\n".join(f"    {line}" for line in lines)
