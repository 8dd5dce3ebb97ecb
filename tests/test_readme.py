"""README and the pages beside it are true: tables follow from the cards, commands parse, links lead to files.

`KDAGENT_WRITE_DOCS=1 pytest tests/test_readme.py` writes the tables of README again.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config
from agent.cli import parser
from benchmarks import page

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "runs/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def tasks() -> Iterator[str]:
    yield "| task | kind | question | rows from |\n|---|---|---|---|"
    for name, card in config.cards(config.TASKS).items():
        where = "kdagent itself" if card["embedded"] else "`--data-dir` or the hub"
        yield f"| `{name}` | {card['kind']} | {card['about']} | {where} |"


def methods() -> Iterator[str]:
    yield "| method | what it is | for | source |\n|---|---|---|---|"
    for name, card in config.cards(config.METHODS).items():
        yield f"| `{name}` | {card['title']} | {', '.join(card['kinds'])} | {authors(card['source']['paper'])} |"


def authors(paper: str) -> str:
    """Who and when; what stands before the first colon or semicolon for a method without a paper."""
    dated = re.match(r"[^:;]*?\d{4}", paper)
    return dated[0] if dated else re.split("[:;]", paper)[0]


@pytest.mark.parametrize(("mark", "rows"), [("tasks", tasks), ("methods", methods)])
def test_tables_follow_from_the_cards(mark: str, rows) -> None:
    table = "\n".join(rows())
    if "KDAGENT_WRITE_DOCS" in os.environ:
        page.put(README, mark, table)
    assert f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->" in README.read_text(encoding="utf-8")


def commands(path: Path) -> Iterator[str]:
    """The command lines that a page tells its reader to type."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"    (?:\$ )?(?:\.venv/bin/)?kdagent (.+)", line):
            yield found[1]


@pytest.mark.parametrize("path", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_every_command_on_a_page_is_one_that_kdagent_knows(path: Path) -> None:
    for line in commands(path):
        words = shlex.split(line, comments=True)
        assert parser(words).parse_args(words).command == words[0]


def test_readme_tells_its_reader_to_type_something() -> None:
    assert len(list(commands(README))) >= 6


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: {target}"
        assert not heading or heading in headings(file), f"{path.name}: {target}"


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


def test_files_named_in_the_glossary_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:agent|sandbox|baselines|tests|templates)/[\w/.-]*)`", text)
    assert len(named) > 30 and [name for name in named if not (ROOT / name).exists()] == []
