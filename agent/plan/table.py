"""The plan on the terminal."""

from typing import get_args

from rich.console import Console
from rich.table import Table

from agent.plan.compiling import told
from agent.plan.plan import Plan, Track, written
from agent.plan.prose import fill
from agent.record.prepared import Facts, Prepared, Who
from agent.terminal import cell, tell


def plan_table(console: Console, plan: Plan, facts: Facts) -> None:
    """The whole plan, with the origin of each value, and the warnings."""
    tell(console, "", f"Plan {plan.hash[:12]}: {plan.title}")
    tell(console, fill(plan.objective, plan), fill(plan.hypothesis, plan))
    for track in plan.tracks:
        prepared = facts.tracks[track.name]
        tell(console, "")
        console.print(_track(plan, track, prepared))
        for note in prepared.notes:
            tell(console, f"  note: {note}")
        if prepared.pace:
            tell(console, f"  compiling: {told(prepared.pace, track)}")
    arms = ", ".join(("teacher", *plan.reference_arms, "proposed"))
    tell(console, f"arms: {arms}")
    tell(console, f"seeds: {list(plan.seeds)}; benchmark: {plan.benchmark}; attempts: {plan.attempts}")
    tell(
        console,
        f"judged by {plan.primary_metric}, least effect {plan.least_effect:g}, level {plan.level:g}; "
        f"budget: {plan.budget.seconds:g} s",
    )
    for warning in facts.warnings:
        tell(console, f"warning: {warning}")


def _track(plan: Plan, track: Track, prepared: Prepared) -> Table:
    table = Table(title=cell(track.name), title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("data", cell(track.task.source), cell(f"sha256 {track.task.hash[:12]}"))
    counts = ", ".join(f"{name} {count:,}" for name, count in prepared.rows.items())
    classes = "tokens" if track.task.kind == "language" else "classes"
    table.add_row("rows", cell(counts), f"{len(track.task.labels)} {classes}")
    if track.task.views > 1:
        mirrored = ", some mirrored" if track.task.mirror else ""
        table.add_row("views", f"{track.task.views}{mirrored}", plan.provenance[f"tracks.{track.name}.views"])
    for who in get_args(Who):
        if not (spec := getattr(track, who)):
            continue
        model = prepared.models[who]
        described = f"{model.class_}, {model.layers} layers, {model.parameters:,} parameters"
        table.add_row(who, cell(described), cell(spec.checkpoint or "random weights"))
    method = {name: value for name, value in track.method.settings.items() if name not in track.method.idle}
    generator = written(track.generator.model_dump()) if track.generator else {}
    parts = {"training": track.training.settings, "method": method, "generator": generator}
    for part, settings in parts.items():
        for field, value in settings.items():
            extra = f" ({track.steps} steps)" if field == "epochs" else ""
            name = f"generator.{field}" if part == "generator" else field
            table.add_row(name, cell(f"{value}{extra}"), plan.provenance[f"tracks.{track.name}.{part}.{field}"])
    return table
