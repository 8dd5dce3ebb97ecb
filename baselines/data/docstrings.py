"""The embedded text task: which library does this sentence come from?

First docstring paragraphs of torch, transformers, scipy and scikit-learn, and the standard library: real sentences
written by people. They were read once, from the versions that the file's first line names, and ship with kdagent, so
that the rows are the same everywhere and next year. Sources were read with `ast`, never imported; words that name a
library were masked, duplicates dropped and the four classes balanced.

    python -m baselines.data.docstrings FILE      writes such a file from the installed versions, and prints its SHA-256
"""

import ast
import gzip
import hashlib
import importlib.util
import platform
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import baselines
from baselines.errors import BaselineError, reason

EMBEDDED = Path(baselines.__file__).parent / "embedded"
"""A folder of its own, since it is hidden from trials: the labels of the test rows lie in it."""
LABELS = ("torch", "transformers", "scipy and scikit-learn", "standard library")
PACKAGES = (("torch",), ("transformers",), ("scipy", "sklearn"))
SHORTEST, LONGEST = 25, 300  # characters; shorter ones are not informative, longer ones are cut lists of parameters
BEGINNING = "# docstrings of "  # of the file; the versions follow

NAMES = re.compile(
    r"\b(pytorch|torch|hugging ?face|transformers?|scipy|scikit[- ]learn|sklearn|numpy|np|python"
    r"|tensors?|ndarrays?|estimators?)\b",
    re.IGNORECASE,
)
BLANKS = re.compile(r"\s+")


def read(card: dict) -> tuple[str, list[tuple[str, int]]]:
    """The versions that the texts were read from, and every (text, label) in the order of the file that `card` names.

    Raises BaselineError where the file is not the one whose SHA-256 the card gives.
    """
    file = EMBEDDED / card["rows"]
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise BaselineError(f"cannot read the rows of a task: {reason(error)}", "install kdagent again") from error
    if (found := hashlib.sha256(packed).hexdigest()) != card["sha256"]:
        problem = f"{file} has the SHA-256 {found[:12]}…, and the task's card gives {card['sha256'][:12]}…"
        raise BaselineError(problem, "install kdagent again: its rows are not those it was released with")
    first, _, *lines = gzip.decompress(packed).decode().splitlines()
    return first.removeprefix(BEGINNING), [(text, int(label)) for text, label in (line.split("\t") for line in lines)]


# ── how the file was made ───────────────────────────────────────────────────────────────────────────────────────────


def write(file: Path) -> str:
    """Writes the rows of the installed versions to `file`. Returns its SHA-256."""
    lines = [BEGINNING + _versions(), "text\tlabel", *(f"{text}\t{label}" for text, label in _balanced(_installed()))]
    file.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _versions() -> str:
    libraries = ("torch", "transformers", "scipy", "scikit-learn")
    named = [f"{name} {version(name).split('+')[0]}" for name in libraries]  # without the build ("+cpu")
    return ", ".join([*named, f"Python {platform.python_version()}"])


def _installed() -> list[tuple[str, int]]:
    return _unique(
        (text, label)
        for label, folders in enumerate(_folders())
        for folder in folders
        for path in _files(folder)
        for text in _texts(path)
    )


def _unique(found: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Each text once, and none that stands in the sources of two classes."""
    labels: dict[str, int] = {}
    clashes = {text for text, label in found if labels.setdefault(text, label) != label}
    return [(text, label) for text, label in labels.items() if text not in clashes]


def _folders() -> list[list[Path]]:
    libraries = [[Path(importlib.util.find_spec(name).origin).parent for name in group] for group in PACKAGES]
    return [*libraries, [Path(sysconfig.get_paths()["stdlib"])]]


def _files(folder: Path) -> list[Path]:
    skipped = {"site-packages", "dist-packages", "__pycache__", "tests", "test", "idlelib", "lib2to3"}
    return sorted(path for path in folder.rglob("*.py") if not skipped & set(path.relative_to(folder).parts))


def _texts(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    return [text for text in map(_masked, _docstrings(tree)) if SHORTEST <= len(text) <= LONGEST]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings of a module, its classes and functions; statements without any are not walked."""
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
    print(write(Path(sys.argv[1])))
