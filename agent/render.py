"""Prompts and reports from the Jinja files in templates/. A missing value is an error, never an empty string.

What somebody else wrote stands in a prompt only between fences, in a report there or escaped (agent/results/report.py).
"""

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.config import ROOT
from sandbox.printable import printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment


TEMPLATES = ROOT / "templates"


def render(name: str, **values: Any) -> str:
    """The text of templates/<name>. Raises jinja2.UndefinedError when the template needs a value not given."""
    return _environment().get_template(name).render(**values)


def fence(text: str, language: str = "") -> str:
    """The text between code fences longer than any run of backticks inside it, each of its lines a line that is seen:
    control characters and marks of direction are visible text."""
    text = printable_lines(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fence"] = fence
    environment.filters["json"] = _json
    return environment


def _json(value: Any) -> str:
    """JSON in which what is not seen is escaped, and only that."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)
