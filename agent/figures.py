"""Numbers as a reader sees them."""

from __future__ import annotations

from typing import Literal


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


Unit = Literal["percent", "points", "p", "nats", "ms", "mb", "seconds"]
UNITS: dict[str, Unit] = {
    "accuracy": "percent",
    "precision": "percent",
    "recall": "percent",
    "f1": "percent",
    "nll": "nats",
    "inference_ms": "ms",
    "size_mb": "mb",
}


def figure(value: float, unit: Unit) -> str:
    """A number as every report writes it; shares become percent, differences signed points."""
    match unit:
        case "percent":
            return f"{100 * value:.2f} %"
        case "points":
            return f"{round(100 * value, 2) + 0.0:+.2f} points"  # + 0.0 turns -0.0 into 0.0
        case "p":
            return "below 0.001" if value < 0.001 else f"{value:.3f}"
        case "nats":
            return f"{value:.3f}"
        case "seconds":
            return f"{value:.1f} s" if value < 60 else f"{round(value) // 60} min {round(value) % 60} s"
        case "ms" | "mb":
            return f"{value:.2f} {unit.upper() if unit == 'mb' else unit}"
