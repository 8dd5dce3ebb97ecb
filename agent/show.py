"""Plans and runs on the terminal."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from agent import runs
from agent.paths import RunPaths
from agent.plan import Plan, Track
from sandbox.isolation import Backend

SHOWN = ("name", "temperature", "alpha", "beta", "layers", "layer_map", "signal", "norm", "init_layers")


def plan_table(console: Console, plan: Plan, record: dict[str, Any], backend: Backend | None = None) -> None:
    """The whole plan, with the origin of each value, and what the lints have to say."""
    say = lambda text: console.print(text, highlight=False, markup=False)  # noqa: E731
    say(f"\nPlan {plan.hash[:12]}: {plan.title}\n{plan.objective}")
    for track in plan.tracks:
        console.print(_track(plan, track, record["tracks"][track.name]))
        for note in record["tracks"][track.name]["notes"]:
            say(f"  note: {note}")
    arms = ", ".join(("teacher", *plan.reference_arms, "proposed"))
    say(f"arms: {arms}\nseeds: {list(plan.seeds)}; benchmark: {plan.benchmark}; judged by {plan.primary_metric}, "
        f"least effect {plan.least_effect:g}, level {plan.level:g}; attempts: {plan.attempts}; "
        f"budget: {plan.budget.seconds:g} s")  # fmt: skip
    for warning in record["warnings"]:
        say(f"warning: {warning}")


def _track(plan: Plan, track: Track, facts: dict[str, Any]) -> Table:
    table = Table(title=f"\n{track.name}", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    rows = facts["rows"]
    table.add_row("data", track.task.source, f"sha256 {track.task.hash[:12]}")
    table.add_row(
        "rows", ", ".join(f"{name} {count:,}" for name, count in rows.items()), f"{len(track.task.labels)} classes"
    )
    for who in ("teacher", "student"):
        spec, model = getattr(track, who), facts["models"][who]
        name = spec.checkpoint or "random weights"
        table.add_row(who, f"{model['class']}, {model['layers']} layers, {model['parameters']:,} parameters", name)
    for part in ("training", "method"):
        for field, value in getattr(track, part).model_dump().items():
            if part == "method" and field not in SHOWN:
                continue
            extra = f" ({track.steps} steps)" if field == "epochs" else ""
            table.add_row(field, f"{value}{extra}", plan.provenance[f"tracks.{track.name}.{part}.{field}"])
    return table


def show_run(paths: RunPaths, as_json: bool) -> None:
    record = runs.read(paths)
    results = json.loads(paths.results.read_text()) if paths.results.exists() else None
    if as_json:
        plan = json.loads(paths.plan.read_text()) if paths.plan.exists() else None
        print(json.dumps({"schema": 1, "run": record, "plan": plan, "results": results}))
        return
    console = Console()
    reason = f" ({record['reason']})" if record.get("reason") else ""
    console.print(f"run {paths.id}: {record['status']}{reason}\nidea: {record['options']['idea']}", markup=False)
    if paths.plan.exists() and paths.facts.exists():
        plan_table(console, Plan.model_validate_json(paths.plan.read_text()), json.loads(paths.facts.read_text()))
    if results:
        _results(console, results)
        console.print(
            f"\n{results['verdict']}: {results['conclusion']}\nreport: {paths.report}", markup=False, highlight=False
        )


def _results(console: Console, results: dict[str, Any]) -> None:
    metric = results["plan"]["primary_metric"]
    for track in results["tracks"]:
        table = Table(
            title=f"\n{track['name']}: {metric} on the test rows", title_justify="left", box=None, padding=(0, 2, 0, 0)
        )
        for heading in ("arm", "mean", "sd", "n"):
            table.add_column(heading)
        table.add_row("teacher", f"{track['teacher_scores'][metric]:.4f}", "", "1")
        for arm in track["arms"]:
            if summary := arm["summaries"].get(metric):
                table.add_row(arm["name"], f"{summary['mean']:.4f}", f"{summary['sd'] or 0:.4f}", str(summary["n"]))
        console.print(table)
