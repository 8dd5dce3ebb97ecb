"""Lints of rows: how many there are, who writes them, and how large the answers to them are."""

from collections.abc import Iterator

from agent.plan.lint import Lint
from agent.plan.plan import Plan, Track

MOST_LOGITS = 1 << 30


def generated_rows(track: Track) -> Iterator[Lint]:
    """Generated rows that are missing, or that no arm would learn from."""
    path, rows, card = f"tracks.{track.name}.task.generated_rows", track.task.generated_rows, track.method.card
    if card.generated and not rows:
        yield Lint(
            "refusal",
            path,
            f"{track.method.name} needs generated rows, and none are planned",
            f"use --set generated_rows={card.generated}, or --method kd",
        )
    if rows and not card.unlabelled:
        yield Lint(
            "refusal",
            path,
            f"{track.method.name} learns only from labelled rows, and generated rows have no label",
            "use --set generated_rows=0, or --method genset",
        )
    if track.generator and not rows:
        yield Lint("warning", f"tracks.{track.name}.generator", "no generated rows are planned, so it will not be read")


def rows(track: Track) -> Iterator[Lint]:
    if track.task.kind == "language" and track.task.transfer_rows:
        yield Lint(
            "refusal",
            f"tracks.{track.name}.task.transfer_rows",
            f"{track.task.transfer_rows:,} rows without labels beside rows that have none either",
            f"a corpus has only training rows: --set {track.name}.transfer_rows=0",
        )
    if track.task.test_rows < 400:
        yield Lint(
            "warning",
            f"tracks.{track.name}.task.test_rows",
            f"{track.task.test_rows} test rows: one example is worth {100 / track.task.test_rows:.1f} points",
        )


def logits_size(plan: Plan, track: Track) -> Iterator[Lint]:
    """Every trial's logits are kept as one number per row and class, and those of a split are made in one process."""
    task, seeds = track.task, len(plan.seeds)
    final = seeds * (len(plan.reference_arms) + 1) + 1 + bool(track.assistant)
    for split, rows, trials in (("dev", task.dev_rows, seeds), ("test", task.test_rows, final)):
        each = 4 * max(1, len(task.labels))  # bytes of a row's
        most = min(MOST_LOGITS, (plan.budget.disk_mb << 20) // trials) // each
        if rows > most:
            what = "tokens" if task.kind == "language" else "classes"
            yield Lint(
                "refusal",
                f"tracks.{track.name}.task.{split}_rows",
                f"{rows:,} rows of {len(task.labels):,} {what} are {rows * each >> 20:,} MB of logits, of {trials} "
                f"models {rows * each * trials >> 20:,} MB: budget.disk_mb is {plan.budget.disk_mb:,}, and "
                f"{MOST_LOGITS >> 20:,} MB is the limit for one model",
                f"use --set {track.name}.{split}_rows={most}, fewer seeds, more disk or a smaller vocabulary",
            )
