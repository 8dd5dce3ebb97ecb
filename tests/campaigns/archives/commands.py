"""Every command that reads runs, called in this process on what was imported, and what it printed looked at."""

import io
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from agent.cli import main
from tests.campaigns.archives.mutations import MARK, OPENED, RICH

READ = (
    ("runs",),
    ("show", "@last"),
    ("report", "@last"),
    ("diff", "@last", "@last"),
    ("verify", "@last"),
    ("review", "@last"),
    ("gc",),
    ("cache", "ls"),
    ("rm", "@last"),
    ("tag", "@last", "seen"),
    ("export", "@last", "{}/again.tar.gz"),
    ("lint", "{}/metrics.json", "--plan", "@last"),
    ("resume", "@last"),
    ("replay", "@last", "--level", "report"),
)
"""The last one is another run from then on."""
PLAYED = ("replay", "@last~1", "--level", "agent")
METRICS = '{"eval_accuracy": 0.5, "epoch": 1.0, "step": 3}'
CODES = (0, 1, 2, 3, 6, 7, 8)
"""The exits of a command that met nothing it could not say in a line; 5 is a bug of ours, or a failed training."""
OUTSIDE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1`*$", re.MULTILINE | re.DOTALL)


@dataclass
class Seen:
    tracebacks: list[str] = field(default_factory=list)
    raw: dict[str, list[str]] = field(default_factory=dict)
    """Channel → where characters or markup that were not ours reached it."""
    said: list[str] = field(default_factory=list)
    commands: int = 0


def called(seen: Seen, words: tuple[str, ...], runs: Path) -> int:
    """The exit code of a command; -1 where it broke."""
    out, err = io.StringIO(), io.StringIO()
    seen.commands += 1
    said = [word.format(runs.parent) for word in words]
    try:
        environment = {"COLUMNS": "400", "KDAGENT_CACHE": str(runs.parent / "cache")}
        with redirect_stdout(out), redirect_stderr(err), patch.dict(os.environ, environment), patch("sys.stdin", None):
            code = main([*said, "--runs-dir", str(runs)])
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        seen.tracebacks.append(
            f"{' '.join(words)}: {type(error).__name__}: {ascii(error)[:120]} ({where.filename}:{where.lineno})"
        )
        return -1
    if code not in CODES:
        seen.tracebacks.append(f"{' '.join(words)}: exit {code}: {ascii(err.getvalue())[:200]}")
    seen.said.append(out.getvalue() + err.getvalue())
    for text in (out.getvalue(), err.getvalue()):
        for wrong in raw(text) if "--json" in words else (*raw(text), *obeyed(text)):
            seen.raw.setdefault("terminal", []).append(f"{' '.join(words)}: {wrong}")
    if code and "Traceback" in err.getvalue():
        seen.tracebacks.append(f"{' '.join(words)}: {ascii(err.getvalue())[:200]}")
    return code


def read(seen: Seen, runs: Path) -> None:
    """Every command on the run that was imported last; and the pages that they wrote."""
    (runs.parent / "metrics.json").write_text(METRICS)
    (runs.parent / "again.tar.gz").unlink(missing_ok=True)
    for words in READ:
        if "export" not in words and "replay" not in words:
            called(seen, (*words, "--json"), runs)
        called(seen, words, runs)
    called(seen, PLAYED, runs)
    for page in runs.glob("*/*report.md"):
        for wrong in page_faults(page.read_bytes()):
            seen.raw.setdefault("page", []).append(f"{page.name}: {wrong}")


def raw(text: str) -> Iterator[str]:
    """Characters that a terminal or a reader's eye would obey."""
    for number, line in enumerate(text.split("\n"), 1):
        wrong = {sign for sign in line if not sign.isprintable()}
        if wrong:
            yield f"line {number} has {''.join(sorted(wrong))!a}: {ascii(line)[:160]}"


def obeyed(text: str) -> Iterator[str]:
    """Markup of rich that took effect, as it is not in the text any more; and a text that began a line of its own."""
    if "\nverified: all is well" in text:
        yield "a line begins with foreign words"
    if re.search(rf"(?<!{re.escape(OPENED)}){RICH}", text):
        yield "markup was obeyed"
    if "💀" in text:
        yield "an emoji code was obeyed"


def page_faults(data: bytes) -> Iterator[str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield "is not UTF-8"
        return
    yield from raw(text.replace("\t", " "))
    prose = OUTSIDE.sub("", text)
    if f"<{MARK}" in prose:
        yield "HTML stands outside a fence"
    if f"[{MARK}](http" in prose:
        yield "a link or an image was made"
