"""The report: results written for a stranger. The same results give the same bytes."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.figures import UNITS, count, figure
from agent.frozen import Record
from agent.plan.arms import ARMS
from agent.plan.plan import HIGHER_IS_BETTER
from agent.plan.prose import filled
from agent.render import render
from agent.results.conclude import figure_interval
from agent.results.schema import JUDGED, Results, Summary

if TYPE_CHECKING:
    from agent.results.schema import Review


def write_report(folder: Path, results: Results) -> Path:
    """Writes report.md into `folder`."""
    path = folder / "report.md"
    path.write_text(render_report(results), encoding="utf-8", newline="\n")
    return path


def render_report(results: Results, reviews: "Sequence[Review]" = ()) -> str:
    """The report in Markdown, in the words of its schema. Every text but code is escaped; code stands in fences."""
    return render(
        "report/report.md.j2" if results.schema_ > 1 else "report/report-1.md.j2",
        results=escaped(results.model_copy(update={"plan": filled(results.plan)})),
        reviews=escaped(tuple(reviews)),
        arms=ARMS,
        code=results.code,
        command=results.command,
        metrics=(*JUDGED, "nll"),
        higher_is_better=HIGHER_IS_BETTER,
        figure=figure,
        count=count,
        show=show,
        spread=spread,
        interval=figure_interval,
    )


def show(metric: str, value: float) -> str:
    """A metric's value with its unit."""
    return figure(value, UNITS[metric])


def spread(metric: str, summary: Summary) -> str:
    """`97.25 % ± 0.52 [96.70, 97.80]`: mean, standard deviation and interval."""
    mean = show(metric, summary.mean)
    if summary.sd is None or summary.low is None or summary.high is None:
        return f"{mean} (one seed)"
    scale, digits = (100, 2) if UNITS[metric] == "percent" else (1, 3)
    sd, low, high = (f"{scale * value:.{digits}f}" for value in (summary.sd, summary.low, summary.high))
    return f"{mean} ± {sd} [{low}, {high}]"


def escaped(value: Any) -> Any:
    """The same records with every text escaped, so that no template line can forget to."""
    match value:
        case str():
            return escape(value)
        case Record():
            return value.model_copy(update={name: escaped(item) for name, item in value})
        case tuple():
            return tuple(map(escaped, value))
        case dict():
            return {escape(name): escaped(item) for name, item in value.items()}
    return value


def escape(text: str) -> str:
    """One line of text that Markdown and HTML show as it is written."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    marked = re.sub(r"[\\`*|~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", html.escape(line, quote=False))
    return re.sub(r"^(\d*)([.)#+-])(?=[ #+-]|$)", r"\1\\\2", marked)
