"""A static look at an edited train.py before it runs.

A courtesy to an honest author, who learns in a moment what would have cost a training run, and a first fence. It is not
the wall: Python offers many ways around any such list. That is the isolation the file runs in, the values that are
read back from the live trainer, and scoring outside.
"""

import ast
from collections.abc import Iterator

from sandbox.checks import access, experiment_use, plan_values
from sandbox.checks.source import Source
from sandbox.checks.undefined_names import undefined
from sandbox.checks.violation import Violation, finding


def check(source: str, before: str) -> tuple[Violation, ...]:
    """The changes that `source`, an edit of `before`, needs before it may run; empty when none."""
    try:
        parsed = Source(source)
        findings = {found for rule in _CHECKS for found in rule(parsed)} | {*_names(source), *_unseen(source)}
        if _same(source, before):
            findings.add(finding(1, "no_change", "only comments, docstrings or layout differ", "change what it does"))
    except SyntaxError as error:
        what = f"column {error.offset or 1}: {error.msg}"
        return (finding(error.lineno or 1, "syntax", what, "send a file that Python can parse"),)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL character; hundreds of nested brackets
        return (finding(1, "syntax", f"it cannot be parsed: {error}", "send simpler code"),)
    return tuple(sorted(findings))


def _unseen(source: str) -> Iterator[Violation]:
    """What a reader of the diff and the next author would not see, or would see as something else."""
    for number, line in enumerate(source.split("\n"), 1):
        if wrong := next((sign for sign in line if not sign.isprintable() and sign != "\t"), ""):
            written = wrong.encode("unicode_escape").decode()
            instead = f"write `{written}` or leave it out"
            yield finding(number, "unseen", f"it contains {written}, which is not seen", instead)


def _names(source: str) -> Iterator[Violation]:
    for line, name in undefined(source):
        yield finding(line, "name", f"`{name}` is not defined", "define or import it")


def _entry(source: Source) -> Iterator[Violation]:
    instead = "define `def train(experiment):`"
    entries = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    if not entries:
        yield finding(1, "entry", "there is no top-level function `train`", instead)
    for entry in entries:
        if ast.unparse(entry.args).partition(":")[0] != "experiment":
            yield finding(entry, "entry", "`train` takes other arguments", instead)


def _same(source: str, before: str) -> bool:
    try:
        return _meaning(source) == _meaning(before)
    except (SyntaxError, ValueError):  # `source` has been parsed already: it is `before` that cannot be
        return False


def _meaning(source: str) -> str:
    """The syntax tree without comments, layout, docstrings and other statements that are only a constant."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return ast.dump(tree)


_CHECKS = (_entry, *experiment_use.CHECKS, *plan_values.CHECKS, *access.CHECKS)
