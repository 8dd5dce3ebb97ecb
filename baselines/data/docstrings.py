"""The embedded text task: which library does this sentence come from?

First docstring paragraphs of the installed torch, transformers, scipy and scikit-learn, and the standard library: real
sentences written by people, there wherever kdagent is installed. Sources are read with `ast`, never imported. Words
that name a library are masked, duplicates dropped and the four classes balanced. What comes out depends on the
installed versions, so its content hash belongs in every record.

    python -m baselines.data.docstrings CACHE      reads them ahead of the first run
"""

import ast
import gc
import hashlib
import importlib.util
import json
import os
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

LABELS = ("torch", "transformers", "scipy and scikit-learn", "standard library")
PACKAGES = (("torch",), ("transformers",), ("scipy", "sklearn"))
SHORTEST, LONGEST = 25, 300  # characters; shorter ones say nothing, longer ones are cut lists of parameters

NAMES = re.compile(
    r"\b(pytorch|torch|hugging ?face|transformers?|scipy|scikit[- ]learn|sklearn|numpy|np|python"
    r"|tensors?|ndarrays?|estimators?)\b",
    re.IGNORECASE,
)
BLANKS = re.compile(r"\s+")


def rows(cache: Path) -> list[tuple[str, int]]:
    """Every (text, label) of the task, balanced, in an order that depends on the texts alone.

    Reading 130 MB of sources takes a while, so the rows are kept in `cache` for as long as no source changes.
    """
    files = [(path, label) for label, folders in enumerate(_folders()) for folder in folders for path in _files(folder)]
    return _kept(files, cache)


def _kept(files: list[tuple[Path, int]], cache: Path) -> list[tuple[str, int]]:
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path, _ in files]
    kept = cache / f"docstrings-{hashlib.sha256(repr(state).encode()).hexdigest()[:16]}.json"
    if kept.exists():
        return [(text, label) for text, label in json.loads(kept.read_text())]
    found = _read_all(files)
    cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(found))
    part.rename(kept)
    return found


def _read_all(files: list[tuple[Path, int]]) -> list[tuple[str, int]]:
    with ProcessPoolExecutor(max_workers=2, initializer=gc.disable) as pool:  # trees are large and short-lived
        found = pool.map(_read, files, chunksize=64)
        texts = {}
        clashes = set()
        for label, paragraphs in found:
            for text in paragraphs:
                if texts.setdefault(text, label) != label:
                    clashes.add(text)
    return _balanced([(text, label) for text, label in texts.items() if text not in clashes])


def _folders() -> list[list[Path]]:
    libraries = [[Path(importlib.util.find_spec(name).origin).parent for name in group] for group in PACKAGES]
    return [*libraries, [Path(sysconfig.get_paths()["stdlib"])]]


def _files(folder: Path) -> list[Path]:
    skipped = {"site-packages", "dist-packages", "__pycache__", "tests", "test", "idlelib", "lib2to3"}
    return sorted(path for path in folder.rglob("*.py") if not skipped & set(path.relative_to(folder).parts))


def _read(job: tuple[Path, int]) -> tuple[int, list[str]]:
    path, label = job
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return label, []
    return label, [text for text in map(_masked, _docstrings(tree)) if SHORTEST <= len(text) <= LONGEST]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings of a module, its classes and functions; statements that hold none are not walked."""
    if text := ast.get_docstring(node):
        yield text
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child)


def _masked(docstring: str) -> str:
    paragraph = docstring.strip().split("\n\n")[0]
    return NAMES.sub("[MASK]", BLANKS.sub(" ", paragraph)).strip()


def _balanced(found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same number of texts for every class, shuffled by content so that file order leaves no trace."""
    ordered = sorted(found, key=lambda row: hashlib.sha256(row[0].encode()).digest())
    by_label = [[row for row in ordered if row[1] == label] for label in range(len(LABELS))]
    least = min(map(len, by_label))
    chosen = [row for group in by_label for row in group[:least]]
    random.Random(0).shuffle(chosen)
    return chosen


if __name__ == "__main__":
    rows(Path(sys.argv[1]))
