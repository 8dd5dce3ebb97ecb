"""The rooms and what they import, measured from the code: python -m tests.campaigns.house [--write]

Prints the diagram and the table of rooms in docs/architecture.md, or writes them there.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import grimp

from benchmarks.page import DOCS, put

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "sandbox", "baselines")
GROUND = "ground"
"""The files of a package that are in no room: every room may import them."""

Graph = Mapping[str, frozenset[str]]
"""Room → the rooms that it imports."""


@cache
def rooms(package: str) -> tuple[str, ...]:
    return tuple(sorted(folder.parent.name for folder in (ROOT / package).glob("*/__init__.py")))


@cache
def imports(package: str) -> Graph:
    """The rooms of a package, its ground among them, and what each imports of the others."""
    graph = grimp.build_graph(package, cache_dir=None)
    found: dict[str, set[str]] = {room: set() for room in (*rooms(package), GROUND)}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            start, end = _room(module), _room(imported)
            if start != end and module != f"{package}.cli" and module != f"{package}.__main__":
                found[start].add(end)
    return {room: frozenset(others) for room, others in found.items()}


def _room(module: str) -> str:
    package, *rest = module.split(".")
    return rest[0] if rest and rest[0] in rooms(package) else GROUND


def circles(graph: Graph) -> list[str]:
    """Rooms that can be reached from themselves."""
    return [room for room in graph if room in {end for start in graph[room] for end in reach(graph, start)}]


def reach(graph: Graph, start: str) -> set[str]:
    """A room and all that is below it."""
    found, left = set[str](), [start]
    while left:
        if (room := left.pop()) not in found:
            found.add(room)
            left += graph[room]
    return found


def arrows(graph: Graph) -> Iterator[tuple[str, str]]:
    """The imports that do not follow from others: an arrow over two floors is not drawn where a stair leads there."""
    for room in sorted(graph):
        below = graph[room]
        for end in sorted(below):
            if not any(end in reach(graph, other) for other in below - {end}):
                yield room, end


def diagram() -> str:
    lines = ["```mermaid", "graph TD"]
    for package in PACKAGES:
        graph = imports(package)
        lines.append(f"  subgraph {package}")
        lines += [f"    {package}_{room}[{room}]" for room in sorted(graph)]
        lines += [f"    {package}_{start} --> {package}_{end}" for start, end in arrows(graph)]
        lines.append("  end")
    lines += ["  agent --> sandbox", "  agent -. job files .-> baselines", "```"]
    return "\n".join(lines)


def table() -> str:
    lines = ["| room | what it is, and what it does not know |", "|---|---|"]
    for package in PACKAGES:
        lines += [f"| `{package}/{room}/` | {_sentence(ROOT / package / room)} |" for room in rooms(package)]
    return "\n".join(lines)


def _sentence(folder: Path) -> str:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split())


def main() -> None:
    if "--write" in sys.argv:
        put(DOCS / "architecture.md", "rooms", diagram())
        put(DOCS / "architecture.md", "sentences", table())
    else:
        print(f"{diagram()}\n\n{table()}")


if __name__ == "__main__":
    main()
