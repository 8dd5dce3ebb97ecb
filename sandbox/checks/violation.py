"""A violation that the static check found on one line of train.py."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sandbox.checks.source import Source

Rule = Literal[
    "syntax",
    "unseen",
    "entry",
    "no_change",
    "name",
    "seed",
    "hyperparameter",
    "experiment",
    "trainer",
    "rows",
    "import",
    "call",
    "patch",
    "data",
    "dunder",
]


@dataclass(frozen=True, order=True)
class Violation:
    """One line of train.py that must change; findings sort by line."""

    line: int
    rule: Rule
    message: str
    """The line, the problem there, and what to do instead."""


Check = Callable[[Source], Iterator[Violation]]


def finding(where: ast.expr | ast.stmt | ast.alias | int, rule: Rule, what: str, instead: str) -> Violation:
    """A finding that names its line, what is wrong there, and what to do instead."""
    line = where if isinstance(where, int) else where.lineno
    return Violation(line, rule, f"line {line}: {what}; {instead}")
