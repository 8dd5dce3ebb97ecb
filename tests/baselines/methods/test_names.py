"""Every property that the methods' specification lists has a test that names it.

A test names a property at any place of its docstring ("LD-2: …", "LD-1 and LD-2, …") or, in two older files, by its own
name (`test_kd_01_…`, `test_sel_01_…`).
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[2]
LISTED = {
    "KD": """loss and gradient 0 at equality; constants per row; gradient formula; T² scaling; not negative; α = 0 and
        α = 1; permuted classes and rows; micro-batches; half precision; teacher unchanged; label map; cached and
        online""",
    "SEL": """0 at identity; map tables; padding; projections learn and are not saved; all-layer copy; widths that
        differ; 1×1 maps; hooks and forwards; where the gradient goes; tokenizers that differ""",
    "WML": """simplex; equal gradients; larger gradient; finite differences; identical peers; one peer; permuted peers;
        uniform weights are mutual learning""",
    "TM": """0 at the teachers; sums to 1; one teacher without weight; permuted teachers; golden head in stage 1; golden
        head at α = 1; matched by id; one class""",
    "GS": """no copy of a held row; padding of the language model; top-p and top-k; one seed one set; padding of the
        BiLSTM; pairs; rows without labels; two tokenizers""",
    "MP": """kept ≥ dropped; how many, and which not; equal models; a constant; batch and padding; ratios; missing
        scores""",
    "RA": """probabilities and symmetry; own class on top; fast = slow; constant is smoothing; permuted classes; scale;
        limits of τ; training rows alone""",
    "LD": """a distribution; label on top; margin; limits of η; ratios; right rows; a perfect teacher; influence; its
        residual""",
    "PI": """tuned ≥ cells; teacher is the student; mask of ones, of zeros; unsupervised; identical peers; swapped
        peers; partitioners; flips""",
}
"""Series → what its numbers say, from 1, as the sections "tests" have them (kd, kd_selective, wml, tmkd, genset,
miniplm, reffakd, lr_ds, and tuned, mutual and partitioned distillation). None of them cannot be tested."""


@cache
def _named() -> frozenset[str]:
    """Every property that a test names."""
    return frozenset(name for path in TESTS.rglob("test_*.py") for name in _names_in(path))


def _names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield from re.findall(r"\b[A-Z]{2,3}-\d+\b", ast.get_docstring(node) or "")
            yield from (f"{at[1].upper()}-{int(at[2])}" for at in re.finditer(r"^test_(kd|sel)_(\d+)_", node.name))


def _listed() -> set[str]:
    return {f"{series}-{number}" for series, said in LISTED.items() for number in range(1, said.count(";") + 2)}


def test_every_listed_property_has_a_test_that_names_it() -> None:
    assert len(_listed()) == 78
    assert not _listed() - _named()


def test_no_test_names_a_property_of_these_series_that_is_not_listed() -> None:
    ours = {name for name in _named() if name.partition("-")[0] in LISTED}
    assert not ours - _listed()
