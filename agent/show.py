"""Plans and runs on the terminal."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent import runs
from agent.pace import Pace
from agent.paths import RunPaths
from agent.plan import Plan, Track, written
from agent.report import fill
from agent.results import Results
from sandbox.printable import printable


def plan_table(console: Console, plan: Plan, record: dict[str, Any]) -> None:
    """The whole plan, with the origin of each value, and what the lints have to say."""
    _say(console, f"\nPlan {plan.hash[:12]}: {plan.title}\n{fill(plan.objective, plan)}\n{fill(plan.hypothesis, plan)}")
    for track in plan.tracks:
        console.print(_track(plan, track, record["tracks"][track.name]))
        for note in record["tracks"][track.name]["notes"]:
            _say(console, f"  note: {note}")
        if pace := record["tracks"][track.name].get("pace"):
            _say(console, f"  compiling: {Pace(**pace).told(track)}")
    arms = ", ".join(("teacher", *plan.reference_arms, "proposed"))
    _say(console, f"arms: {arms}\nseeds: {list(plan.seeds)}; benchmark: {plan.benchmark}; attempts: {plan.attempts}")
    _say(
        console,
        f"judged by {plan.primary_metric}, least effect {plan.least_effect:g}, level {plan.level:g}; "
        f"budget: {plan.budget.seconds:g} s",
    )
    for warning in record["warnings"]:
        _say(console, f"warning: {warning}")


def _track(plan: Plan, track: Track, facts: dict[str, Any]) -> Table:
    table = Table(title=f"\n{track.name}", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    rows = facts["rows"]
    table.add_row("data", escape(track.task.source), f"sha256 {track.task.hash[:12]}")
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    classes = "tokens" if track.task.kind == "language" else "classes"
    table.add_row("rows", counts, f"{len(track.task.labels)} {classes}")
    if track.task.views > 1:
        mirrored = ", some mirrored" if track.task.mirror else ""
        table.add_row("views", f"{track.task.views}{mirrored}", plan.provenance[f"tracks.{track.name}.views"])
    for who in ("teacher", "assistant", "student"):
        if not (spec := getattr(track, who)):
            continue
        model = facts["models"][who]
        name = escape(spec.checkpoint) or "random weights"
        table.add_row(who, f"{model['class']}, {model['layers']} layers, {model['parameters']:,} parameters", name)
    method = {name: value for name, value in track.method.settings.items() if name not in track.method.idle}
    generator = written(track.generator.model_dump()) if track.generator else {}
    parts = {"training": track.training.settings, "method": method, "generator": generator}
    for part, settings in parts.items():
        for field, value in settings.items():
            extra = f" ({track.steps} steps)" if field == "epochs" else ""
            name = f"generator.{field}" if part == "generator" else field
            table.add_row(name, f"{value}{extra}", plan.provenance[f"tracks.{track.name}.{part}.{field}"])
    return table


def _say(console: Console, text: str) -> None:
    for line in text.split("\n"):  # of an imported run anybody may have written it
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def show_run(paths: RunPaths, as_json: bool) -> None:
    record, plan, results = runs.read(paths), runs.plan(paths), runs.results(paths)
    if as_json:
        known = {"plan": plan, "results": results}
        dumped = {name: found and found.model_dump(mode="json", by_alias=True) for name, found in known.items()}
        print(json.dumps({"schema": 1, "run": record} | dumped))
        return
    console = Console()
    reason = f" ({record['reason']})" if record.get("reason") else ""
    _say(console, f"run {paths.id}: {record['status']}{reason}\nidea: {record['options']['idea']}")
    if imported := record.get("imported"):
        _say(console, f"imported {imported['time']} from an archive of sha256 {imported['archive']}")
    if plan:
        plan_table(console, plan, json.loads(paths.facts.read_text()))
    if results:
        _scores(console, results)
        _say(console, f"\n{results.verdict}: {results.conclusion}\nreport: {paths.report}")


def _scores(console: Console, results: Results) -> None:
    metric = results.plan.primary_metric
    for track in results.tracks:
        title = f"\n{track.name}: {metric} on the test rows"
        table = Table("arm", "mean", "sd", "n", title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_row("teacher", f"{track.teacher_scores[metric]:.4f}", "", "1")
        if track.assistant:
            table.add_row("assistant", f"{track.assistant.scores[metric]:.4f}", "", "1")
        for arm in track.arms:
            if summary := arm.summaries.get(metric):
                table.add_row(arm.name, f"{summary.mean:.4f}", f"{summary.sd or 0:.4f}", str(summary.n))
        console.print(table)
