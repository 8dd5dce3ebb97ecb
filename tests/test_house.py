"""The house: who may import whom, how large files and classes may be, and what docs/architecture.md says of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config
from benchmarks.page import DOCS
from tests.campaigns import house

ROOT = Path(__file__).parents[1]
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
PRODUCT = ("agent", "sandbox", "baselines", "benchmarks", "templates")
LONGEST_FILE, LONGEST_CLASS, MOST_METHODS, MOST_ROOMS, LONGEST_WALK = 400, 250, 20, 20, 14
MOST_UNTYPED = 10


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", PRODUCT)
def test_no_product_folder_imports_the_tests(folder: str) -> None:
    files = sources(folder)
    assert files
    assert [f"{path.relative_to(ROOT)}:{line}" for path in files for line in _imports_of_tests(path)] == []


def _imports_of_tests(path: Path) -> Iterator[int]:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        if any(module.partition(".")[0] == "tests" for module in modules):
            yield node.lineno


@pytest.mark.parametrize("package", house.PACKAGES)
def test_no_room_can_be_reached_from_itself(package: str) -> None:
    assert house.circles(house.imports(package)) == []


def test_a_circle_would_be_found() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}
    assert house.circles(graph) == ["a", "b", "c"]
    assert list(house.arrows({"a": frozenset({"b", "c"}), "b": frozenset({"c"}), "c": frozenset()})) == [
        ("a", "b"),
        ("b", "c"),
    ]


def test_every_room_says_in_a_sentence_or_two_what_it_is_and_what_it_does_not_know() -> None:
    for package in house.PACKAGES:
        for room in house.rooms(package):
            module = parsed(ROOT / package / room / "__init__.py")
            text = " ".join((ast.get_docstring(module) or "").split())
            assert re.search(r"\b(not|no|nothing|never|only|all)\b", text, re.IGNORECASE), (package, room, text)
            assert len(module.body) == 1, f"importing {package}.{room} does something"


def test_rooms_files_and_classes_are_small_enough_to_be_read() -> None:
    assert len(house.rooms("agent")) + len(list((ROOT / "agent").glob("*.py"))) <= MOST_ROOMS
    for path in sources("agent"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= LONGEST_FILE, f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines"
    for path in sources("agent", "sandbox", "baselines"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                assert len(methods) <= MOST_METHODS, f"{path.relative_to(ROOT)}: {node.name} has {len(methods)} methods"
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= LONGEST_CLASS, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_what_crosses_a_room_s_boundary_has_a_type_or_a_reason_not_to() -> None:
    crossing = list(house.untyped())
    assert [(file, name) for file, name, reason in crossing if not reason] == []
    assert 0 < len(crossing) <= MOST_UNTYPED


# ── docs/architecture.md ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("mark", "text"), [("rooms", house.diagram()), ("sentences", house.table())])
def test_what_is_drawn_is_what_the_code_imports(mark: str, text: str) -> None:
    drawn = PAGE.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]
    assert drawn == text, "python -m tests.campaigns.house --write"


def test_every_hop_of_a_walk_is_a_definition_that_is_there() -> None:
    hops = re.findall(r"`((?:agent|baselines|sandbox)/[\w/]+\.py):([\w.]+)`", PAGE)
    assert len(hops) > 30
    for file, name in hops:
        *classes, last = name.split(".")
        place: ast.Module | ast.ClassDef = parsed(ROOT / file)
        for each in classes:
            place = next(n for n in place.body if isinstance(n, ast.ClassDef) and n.name == each)
        named = [n for n in place.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == last]
        assert named, f"{file} has no {name}"


def test_the_walk_of_an_idea_is_short() -> None:
    walk = PAGE.partition("**An idea**")[2].partition("**One setting**")[0]
    assert 10 < len(re.findall(r"^\d+\. ", walk, re.MULTILINE)) <= LONGEST_WALK


def test_every_file_that_the_table_names_is_there() -> None:
    table = PAGE.partition("## To add …")[2]
    files = [file for file in re.findall(r"`((?:agent|baselines|sandbox|templates|tests)/[\w/.]+)`", table)]
    assert files and [file for file in files if "NAME" not in file and not (ROOT / file).exists()] == []


def test_no_product_file_knows_a_task_by_name_but_those_that_embed_one() -> None:
    """So that a card is all that a new task takes."""
    named = {
        (str(path.relative_to(ROOT)), task)
        for path in sources("agent", "sandbox", "baselines")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for task in config.cards(config.TASKS)
        if node.value == task
    }
    assert {file for file, _ in named} <= {"baselines/data/tasks.py", "baselines/data/corpora.py"}, named


def test_no_product_file_knows_a_family_of_models_by_name_but_the_one_that_defines_its_own() -> None:
    """So that a row of baselines/families.toml is all that a new family takes."""
    rows = config.cards(config.FAMILIES)
    names = {*rows, *(row["code"]["model_type"] for row in rows.values())}
    named = {
        (str(path.relative_to(ROOT)), node.value)
        for path in sources("agent", "sandbox", "baselines")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert named == {("baselines/models/bilstm.py", "bilstm")}
