"""The product stands without its tests: no product folder imports anything under tests/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["agent", "sandbox", "baselines", "benchmarks", "templates"])
def test_no_product_folder_imports_the_tests(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [f"{path.relative_to(ROOT)}:{line}" for path in files for line in _imports_of_tests(path)] == []


def _imports_of_tests(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        if any(module.partition(".")[0] == "tests" for module in modules):
            yield node.lineno
