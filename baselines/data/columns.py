"""The columns of a table of rows: which holds the inputs, which the labels, and what their values are."""

import io
from pathlib import Path

import numpy as np

from baselines.data.examples import BETWEEN, DataSource, Examples
from baselines.errors import BaselineError

LABEL_COLUMNS = ("label", "labels", "class", "target")
INPUT_COLUMNS = {"text": ("text", "sentence", "content"), "image": ("image", "img", "pixels")}
PAIR_COLUMNS = (("sentence1", "sentence2"), ("premise", "hypothesis"))
NO_GOLD = -1  # what the hub writes where annotators did not agree


def from_datasets(pool, test, name: str, card: dict, source: str, revision: str = "") -> DataSource:
    """Check the columns, read labels and inputs; images stay encoded until they are chosen."""
    label_column = _column(pool, LABEL_COLUMNS, name)
    kind = card.get("kind") or ("image" if any(c in pool.column_names for c in INPUT_COLUMNS["image"]) else "text")
    columns = card.get("columns") or _pair(pool, kind)
    columns = columns or [_column(pool, (card.get("column", ""), *INPUT_COLUMNS[kind]), name)]
    names = card.get("labels") or _label_names(pool, label_column)
    notes = []
    published = card.get("published_rows", {})
    if published and len(pool) < published["train"]:
        notes.append(
            f"the source has {len(pool):,} of the {published['train']:,} published training rows: "
            "do not compare with figures for all of them"
        )
    read = _encoded_images if kind == "image" else _texts

    def examples(rows, where: str) -> Examples:
        values = (
            rows[_column(rows, (label_column,), where)] if card.get("labels") else []
        )  # to others -1 may be a class
        if dropped := sum(value == NO_GOLD for value in values):
            rows = rows.filter(lambda row: row[label_column] != NO_GOLD)
            notes.append(f"{dropped:,} rows of {where} left out: they have no label")
        inputs = [read(rows, _column(rows, (column,), where), where) for column in columns]
        joined = inputs[0] if len(columns) == 1 else [BETWEEN.join(pair) for pair in zip(*inputs, strict=True)]
        return Examples(joined, _labels(rows, _column(rows, (label_column,), where), names, where))

    held_out = examples(test, f"{name} test") if test else Examples([], [])
    return DataSource(
        kind, list(names), examples(pool, name), held_out, source, revision, notes, pairs=len(columns) > 1
    )


def _pair(rows, kind: str) -> list[str]:
    """The two columns of a task of pairs; none where one column has the whole input."""
    if kind == "image" or any(column in rows.column_names for column in INPUT_COLUMNS["text"]):
        return []
    return next((list(pair) for pair in PAIR_COLUMNS if set(pair) <= set(rows.column_names)), [])


def _column(rows, candidates: tuple[str, ...], name: str) -> str:
    for candidate in candidates:
        if candidate in rows.column_names:
            return candidate
    raise BaselineError(
        f"{name}: no column {' or '.join(c for c in candidates if c)} (the file has {', '.join(rows.column_names)})",
        "rename the column",
    )


def _label_names(rows, column: str) -> list[str]:
    """The names the file declares, else its distinct values; numbers in the order of numbers."""
    if declared := getattr(rows.features[column], "names", None):
        return declared
    values = set(rows[column]) - {None}
    if scores := sorted(value for value in values if isinstance(value, float) and not value.is_integer()):
        raise BaselineError(
            f"column {column!r} has scores, {scores[0]:g} among them: one score has no classes for a temperature to "
            "soften, and only classifiers are distilled here",
            "cut the scores into ranges and give their names as labels",
        )
    return [str(value) for value in sorted(values, key=lambda value: (isinstance(value, str), value))]


def _labels(rows, column: str, names: list[str], name: str) -> list[int]:
    """Positions in `names`: of declared names, of texts, of numbers written as names; other numbers are positions."""
    values = rows[column][:]
    declared = getattr(rows.features[column], "names", None)
    numbers = all(isinstance(value, int) for value in values if value is not None)
    if declared and sorted(declared) == sorted(names):
        positions = {str(value): names.index(label) for value, label in enumerate(declared)}
    elif numbers and (declared or not set(map(str, values)) <= set(names)):
        positions = {str(place): place for place in range(len(names))}
    else:
        positions = {label: place for place, label in enumerate(names)}
    for row, value in enumerate(values):
        if str(value) not in positions:
            known = f"the classes are {', '.join(names[:10])}{' …' * (len(names) > 10)}"
            raise BaselineError(f"{name}: row {row} of column {column!r} has the label {value!r}", known)
    return [positions[str(value)] for value in values]


def _texts(rows, column: str, name: str) -> list[str]:
    values = rows[column][:]
    bad = [row for row, value in enumerate(values) if not isinstance(value, str)]
    if bad:
        raise BaselineError(f"{name}: row {bad[0]} of column {column!r} is not text", "remove or repair it")
    return values


def _encoded_images(rows, column: str, name: str) -> list[bytes]:
    from datasets import Image

    try:
        cells = rows.cast_column(column, Image(decode=False))[column][:]
    except Exception as error:
        raise BaselineError(
            f"{name}: column {column!r} does not contain images", "store encoded image bytes"
        ) from error
    if None in cells:
        raise BaselineError(f"{name}: row {cells.index(None)} of column {column!r} is empty", "remove or repair it")
    return [cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes() for cell in cells]


def decode(value: np.ndarray | bytes | Path, name: str) -> np.ndarray:
    """uint8 [H, W, C] of one image, RGB unless it already is an array. Raises BaselineError for other bytes."""
    from PIL import Image

    if isinstance(value, np.ndarray):
        return value
    try:
        with Image.open(value if isinstance(value, Path) else io.BytesIO(value)) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = value if isinstance(value, Path) else f"{len(value):,} bytes that begin with {value[:8]!r}"
        raise BaselineError(f"{name}: not a complete image: {what}", "remove it, or store PNG, JPEG or WebP") from error
