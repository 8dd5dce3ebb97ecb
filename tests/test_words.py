"""The eight habits of CONTRIBUTING, as far as a search can find them: in messages, docstrings, templates and pages.

What is searched is what a user or an engineer reads: every string of the product, the report's templates and the pages.
Prompts and cards are read by models and follow rules of their own; recorded reports are what they were.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("agent", "sandbox", "baselines", "benchmarks")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "runs/README.md")] + sorted(ROOT.glob("docs/*.md"))
TEMPLATES = [ROOT / "templates" / "report" / name for name in ("report.md.j2", "replay.md.j2")]
KEPT = {
    "agent/results/wording.py": "the words of results of schema 1",
    "agent/llm/recipes.py": "words of ideas, which are the user's",
}

EVERYWHERE = {
    "anew": r"\banew\b",
    "no for not a": r"(?<![tT]here )\b(?:is|are|was) no (?!(?:longer|better|more|larger|further|worse)\b)",
    "so many": r"\bso many\b",
    "another for changed": r"\b(?:is|are|was) (?:another|others)\b(?=[.,;:)]|$)",
    "held against": r"\b(?:held|hold|holds) (?:it |them |\S+ )?against\b",
    "met": r"\bmet\b",
}
MESSAGES = {
    "says for every verb": r"\bsays\b",
    "holds for contains": r"\bholds\b",
    "a noun made of what": r"^what ",
}
"""Searched in what is printed and rendered, not in docstrings: there both words have their plain use too."""


def strings(path: Path) -> Iterator[tuple[int, bool, str]]:
    """Line, whether it is a docstring, and text of every string of a module; values in an f-string are blanks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                pieces = (part.value if isinstance(part, ast.Constant) else "…" for part in values)
                yield node.lineno, False, "".join(map(str, pieces))
            case ast.Constant(value=str(text)) if id(node) not in parts:
                yield node.lineno, id(node) in docs, text


def found(texts: Iterator[tuple[str, str]], patterns: dict[str, str]) -> list[str]:
    """`where: habit: words around it` for every match."""
    return [
        f"{where}: {habit}: …{text[max(0, match.start() - 30) : match.end() + 30]}…"
        for where, text in texts
        for habit, pattern in patterns.items()
        for match in re.finditer(pattern, text)
    ]


def product() -> Iterator[tuple[str, bool, str]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in KEPT:
                yield from ((f"{name}:{line}", doc, text) for line, doc, text in strings(path))


def pages() -> Iterator[tuple[str, str]]:
    """Line by line, without the table in CONTRIBUTING that shows the habits, and without code."""
    for path in (*PAGES, *TEMPLATES):
        text = path.read_text(encoding="utf-8").partition("## Eight habits to avoid")[0]
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", re.sub(r"`[^`]*`", "`…`", line)


def test_no_string_of_the_product_has_a_habit_that_a_search_can_find() -> None:
    assert found(((where, text) for where, _, text in product()), EVERYWHERE) == []


def test_no_message_has_one() -> None:
    texts = ((where, text) for where, doc, text in product() if not doc and " " in text)
    assert found(texts, MESSAGES) == []


def test_no_page_and_no_template_has_one() -> None:
    assert found(pages(), EVERYWHERE | {"says for every verb": r"\bsays\b"}) == []


@pytest.mark.parametrize(
    ("habit", "bad", "good"),
    [
        ("anew", "the plan is frozen anew", "the plan is frozen again"),
        ("no for not a", "run.json is no record of a run", "there is no record; it is no longer read; it is no better"),
        ("so many", "so many answers must fit the disk", "as many as fit"),
        ("another for changed", "the code is another.", "the code is another file of the run"),
        ("held against", "every file is held against its log", "a label that is held back"),
        ("met", "trials met the test inputs", "a metric"),
    ],
)
def test_each_habit_is_found_and_plain_use_is_not(habit: str, bad: str, good: str) -> None:
    assert re.search(EVERYWHERE[habit], bad) and not re.search(EVERYWHERE[habit], good)
