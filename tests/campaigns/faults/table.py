"""The 34 faults of an agent-written report that had every one of them, and the tests that plant them here."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COUNT = 34
PAGE = Path(__file__).parents[3] / "docs" / "security.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


@dataclass(frozen=True)
class Fault:
    number: int
    what: str
    """What the report did."""
    refused: str
    """Where the product refuses it."""
    rule: str
    test: str


FAULTS: list[Fault] = []


def fault(number: int, what: str, refused: str) -> Callable[[Any], Any]:
    """Marks the test that plants a fault; the first paragraph of its docstring is the rule."""

    def note(test: Any) -> Any:
        rule = (inspect.getdoc(test) or "").partition("\n\n")[0].replace("\n", " ")
        FAULTS.append(Fault(number, what, refused, rule, test.__name__))
        return test

    return note


def table() -> str:
    """The faults as a Markdown table, in their order."""
    cells = [("#", "fault", "rule", "refused by", "test"), ("---",) * 5]
    cells += [(str(f.number), f.what, f.rule, f.refused, f"`{f.test}`") for f in sorted(FAULTS, key=lambda f: f.number)]
    numbers = len({fault.number for fault in FAULTS})
    planted = f"{numbers} of {COUNT} are planted by tests in `tests/campaigns/faults/`."
    head = f"## The {COUNT} faults of a report\n\n{planted}\n"
    return head + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def write(page: Path = PAGE) -> None:
    """Put the table between its marks."""
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {BEGIN} and {END} are missing")
    page.write_text(f"{before}{BEGIN}\n{table()}{END}{after}", encoding="utf-8")
