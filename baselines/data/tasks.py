"""Tasks: where their rows come from and how they are split.

Sources, in this order: the embedded tasks; a folder the user names; the local Hugging Face cache; the hub at a pinned
revision. Nothing is swapped silently: what was used is in `Rows.source`, and every oddity in `Rows.notes`.
"""

import hashlib
import io
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from baselines.data.hub import snapshot
from baselines.errors import BaselineError, reason

CARDS = tomllib.loads((Path(__file__).parents[1] / "tasks.toml").read_text())
LABEL_COLUMNS = ("label", "labels", "class", "target")
INPUT_COLUMNS = {"text": ("text", "sentence", "content"), "image": ("image", "img", "pixels")}
PAIR_COLUMNS = (("sentence1", "sentence2"), ("premise", "hypothesis"))
BETWEEN = " [SEP] "  # stands between the two texts of a pair, as BERT's vocabulary and our own know it
ALIKE = 40  # characters at their beginning, by which two texts of a corpus are told apart
NO_GOLD = -1  # what the hub writes where annotators did not agree


@dataclass(frozen=True)
class Examples:
    """Inputs (texts, or uint8 arrays [H, W, C]) with their labels."""

    inputs: list
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices) -> "Examples":
        return Examples([self.inputs[i] for i in indices], [self.labels[i] for i in indices])


@dataclass(frozen=True)
class Source:
    """All rows of a task before they are split."""

    kind: str
    names: list[str]
    pool: Examples
    test: Examples
    source: str
    revision: str = ""
    notes: list[str] = field(default_factory=list)
    pairs: bool = False
    """Whether an input is two texts, joined by BETWEEN."""


@dataclass(frozen=True)
class Splits:
    """train has labels; transfer's labels are hidden from students; dev chooses; test is scored once per final arm;
    generated rows were written by a language model and have no label."""

    train: Examples
    transfer: Examples
    dev: Examples
    test: Examples
    notes: list[str]
    generated: Examples = Examples([], [])

    @property
    def parts(self) -> dict[str, Examples]:
        """By name; generated rows only where there are any."""
        names = ("train", "transfer", "dev", "test", *(["generated"] if len(self.generated) else []))
        return {name: getattr(self, name) for name in names}

    def overlap(self) -> int:
        """Training, transfer, generated and dev rows that equal a test row, counted on the splits as they came out."""
        test = {_fingerprint(value) for value in self.test.inputs}
        others = (*self.train.inputs, *self.transfer.inputs, *self.generated.inputs, *self.dev.inputs)
        return sum(_fingerprint(value) in test for value in others)

    def hash(self) -> str:
        """SHA-256 over every row of every split, in order."""
        digest = hashlib.sha256()
        for examples in self.parts.values():
            digest.update(f"split {len(examples)}".encode())
            for value, label in zip(examples.inputs, examples.labels, strict=True):
                digest.update(hashlib.sha256(_raw(value)).digest() + str(label).encode())
        return digest.hexdigest()


def load(task: dict) -> Source:
    """Rows of `task`: {name, data_dir | data}. Raises BaselineError naming the source, the column and the value."""
    name = task["name"]
    if task.get("data"):
        return _from_folder(Path(task["data"]), name, {"kind": task.get("kind", "")}, own=True)
    card = CARDS[name]
    if card["kind"] == "language":
        return _corpus(load(task | {"name": card["texts"]}))
    if card["embedded"]:
        return _digits(card) if name == "digits" else _docstrings(card)
    if task.get("data_dir"):
        return _from_folder(_task_folder(Path(task["data_dir"]), name), name, card)
    return _from_hub(name, card)


def split(source: Source, sizes: dict, seed: int) -> Splits:
    """Cut the splits so that every class is as common in any prefix as in the pool.

    0 training rows means all but dev's, 0 test rows all there are. dev takes a quarter of the pool at most.
    """
    pool, dropped = _without(source.pool, source.test)
    notes = list(source.notes)
    if dropped:
        notes.append(f"{dropped:,} training rows left out: equal to a test row or to another training row")
    order = _stratified(pool.labels, seed)
    wanted_dev = min(sizes["dev_rows"], len(order) // 4)
    dev, rest = order[:wanted_dev], order[wanted_dev:]
    train_rows = sizes["train_rows"] or len(rest)
    train, rest = rest[:train_rows], rest[train_rows:]
    transfer = rest[: sizes["transfer_rows"]]
    test_order = _stratified(source.test.labels, seed)
    test = source.test.take(test_order[: sizes["test_rows"] or len(test_order)])
    for wanted, got, what in (
        (sizes["dev_rows"], len(dev), "dev"),
        (sizes["train_rows"], len(train), "labelled training"),
        (sizes["transfer_rows"], len(transfer), "transfer"),
        (sizes["test_rows"], len(test), "test"),
    ):
        if wanted > got:
            notes.append(f"{got:,} {what} rows: {wanted:,} were asked for, the source holds no more")
    return Splits(pool.take(train), pool.take(transfer), pool.take(dev), test, notes)


def noisy(splits: Splits, share: float, classes: int, seed: int) -> Splits:
    """The splits with `share` of the labelled training rows, drawn by `seed`, under another class than their own."""
    labels = np.array(splits.train.labels)
    generator = np.random.default_rng([seed, 1])  # not what the order of the rows was drawn with
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    if not len(wrong):
        return splits
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    note = (
        f"{len(wrong):,} of the {len(labels):,} training labels were put to another class, as asked for (label noise)"
    )
    return replace(splits, train=Examples(splits.train.inputs, labels.tolist()), notes=[*splits.notes, note])


def check(source: Source, splits: Splits, batch_size: int) -> None:
    """Refuse data that cannot carry an experiment."""
    for what, examples in (("training", source.pool), ("test", source.test)):
        seen = set(examples.labels)
        if not seen:
            raise BaselineError(f"{source.source}: no {what} rows", "point --data-dir or --data at a folder with rows")
        if len(seen) == 1 and source.kind != "language":
            raise BaselineError(
                f"{source.source}: every {what} row has the label {source.names[seen.pop()]!r}",
                "two classes are the least: check the label column",
            )
    pool = len(splits.train) + len(splits.transfer)
    if pool < batch_size:
        raise BaselineError(
            f"{source.source}: {pool} training rows are fewer than one batch of {batch_size}",
            "give more rows, or a smaller batch with --set training.batch_size=N",
        )
    if missing := set(range(len(source.names))) - set(splits.train.labels):  # a corpus names none
        named = ", ".join(source.names[label] for label in sorted(missing))
        raise BaselineError(f"{source.source}: no labelled training row of class {named}", "raise task.train_rows")


# ── embedded tasks ──────────────────────────────────────────────────────────────────────────────────────────────────


def _digits(card: dict) -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    examples = Examples(list(pixels), bunch.target.tolist())
    order = _stratified(examples.labels, seed=0)
    test, pool = order[:500], order[500:]
    return Source("image", card["labels"], examples.take(pool), examples.take(test), "embedded: scikit-learn digits")


def _docstrings(card: dict) -> Source:
    from baselines.data import docstrings

    versions, rows = docstrings.read(card)
    examples = Examples([text for text, _ in rows], [label for _, label in rows])
    order = _stratified(examples.labels, seed=0)
    test, pool = order[:4000], order[4000:]
    return Source(
        "text",
        card["labels"],
        examples.take(pool),
        examples.take(test),
        f"embedded: docstrings of {versions}",
        notes=[f"{len(rows):,} texts in all, read from those versions once; they ship with kdagent"],
    )


# ── corpora ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _corpus(source: Source) -> Source:
    """The texts of a task without their labels. Of texts that begin alike the first is kept, a test row before all
    others: the beginning of a text is asked how it goes on."""
    test, pool = _beginning_apart(source.test.inputs, source.pool.inputs)
    notes = [*source.notes, f"{len(source.test) - len(test):,} test texts left out: another test text begins alike"]
    if dropped := len(source.pool) - len(pool):
        notes.append(f"{dropped:,} training texts left out: a test text or another training text begins alike")
    unlabelled = (Examples(texts, [0] * len(texts)) for texts in (pool, test))
    return Source("language", [], *unlabelled, source.source, source.revision, notes)


def _beginning_apart(*parts: list[str]) -> Iterator[list[str]]:
    seen: set[str] = set()
    for texts in parts:
        keep = {}
        for text in texts:
            keep.setdefault(" ".join(text.lower().split())[:ALIKE], text)
        yield [text for beginning, text in keep.items() if beginning not in seen]
        seen |= keep.keys()


def at_least(source: Source, longest: int, lengths: Callable[[list[str]], list[int]]) -> Source:
    """The texts of a corpus that `lengths` gives that many tokens or more: each is cut to as many, so that no arm
    learns from more tokens than another."""
    parts, notes = [], list(source.notes)
    for what, examples in (("training", source.pool), ("test", source.test)):
        parts.append(examples.take([n for n, length in enumerate(lengths(examples.inputs)) if length >= longest]))
        notes.append(f"{len(examples) - len(parts[-1]):,} {what} texts left out: shorter than {longest} tokens")
    return replace(source, pool=parts[0], test=parts[1], notes=notes)


# ── files and the hub ───────────────────────────────────────────────────────────────────────────────────────────────


def _task_folder(data_dir: Path, name: str) -> Path:
    if not data_dir.is_dir():
        raise BaselineError(f"data folder {data_dir} does not exist", "check --data-dir")
    if (data_dir / name).is_dir():
        return data_dir / name
    if _files(data_dir, "train"):
        return data_dir
    raise BaselineError(
        f"{data_dir} holds no folder {name!r} and no train file", f"put the rows in {data_dir / name}/train.parquet"
    )


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(p for p in folder.glob(f"{split}*") if p.suffix in (".parquet", ".csv") and p.is_file())


def _from_folder(folder: Path, name: str, card: dict, own: bool = False) -> Source:
    """Rows of train*.parquet|csv and test*.parquet|csv, or of an image folder with one sub-folder per class."""
    if folder.is_file():
        train, test = [folder], []
    else:
        if not folder.is_dir():
            raise BaselineError(f"data folder {folder} does not exist", "check --data")
        test = _files(folder, "test") or _files(folder, "validation")
        train = _files(folder, "train") or [path for path in _files(folder, "") if path not in test]
    if not train and not own and not _files(folder, "test"):
        train, test = test, []  # a published task of which only validation rows are there
    if not train:
        if own and _classes(folder):
            return _from_image_folder(folder, name)
        raise BaselineError(f"{folder} holds no train*.parquet and no train*.csv", "put the training rows there")
    pool = _read(train)
    held_out = _read(test) if test else None
    source = _from_datasets(pool, held_out, name, card, source=f"folder: {_digest(train + test)}")
    if test and test[0].name.startswith("validation"):
        source.notes.append(f"no test file in the source: the rows of {test[0].name} are the test rows")
    return source if test else _with_carved_test(source)


def _read(files: list[Path]):
    from datasets import load_dataset

    builder = "parquet" if files[0].suffix == ".parquet" else "csv"
    try:
        return load_dataset(builder, data_files=[str(path) for path in files], split="train", cache_dir=_arrow_cache())
    except Exception as error:  # pyarrow, datasets and the file system raise a dozen types for one fact
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in files)
        raise BaselineError(
            f"cannot read {names}: {reason(error.__cause__ or error)}", "is the file whole and readable?"
        ) from error


def _from_image_folder(folder: Path, name: str) -> Source:
    root = folder / "train" if (folder / "train").is_dir() else folder
    names = _classes(root)
    pool = _images_of(root, names)
    digest = hashlib.sha256(b"".join(map(_fingerprint, pool.inputs))).hexdigest()[:16]
    test = _images_of(folder / "test", names) if (folder / "test").is_dir() else Examples([], [])
    source = Source("image", names, pool, test, f"image folder: {name} {digest}")
    return source if len(test) else _with_carved_test(source)


def _classes(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images_of(folder: Path, names: list[str]) -> Examples:
    if unknown := sorted(set(_classes(folder)) - set(names)):
        raise BaselineError(f"{folder / unknown[0]}: no training image is of class {unknown[0]}", "remove the folder")
    files = [(path, label) for label, name in enumerate(names) for path in sorted((folder / name).glob("*"))]
    return Examples([decode(path, folder.name) for path, _ in files], [label for _, label in files])


def _from_hub(name: str, card: dict) -> Source:
    within, held_out = card.get("folder", ""), card.get("test_split", "test")
    folder = snapshot(card["hub"], card["revision"], [f"{within}/*.parquet" if within else "*.parquet"], "dataset")
    parts = {split: sorted((folder / within).rglob(f"{split}*.parquet")) for split in ("train", held_out)}
    if missing := [split for split, files in parts.items() if not files]:
        raise BaselineError(
            f"{card['hub']} at {card['revision'][:12]} holds no {missing[0]}*.parquet",
            "delete its folder in the Hugging Face cache, or use --data-dir FOLDER",
        )
    where = os.environ.get("HF_ENDPOINT", "") and " (from another endpoint)"
    pool, test = _read(parts["train"]), _read(parts[held_out])
    source = _from_datasets(pool, test, name, card, f"hub: {card['hub']}{where}", card["revision"])
    if held_out != "test":
        source.notes.append(f"the published test rows have no labels: the rows of {held_out} are the test rows")
    return source


def _from_datasets(pool, test, name: str, card: dict, source: str, revision: str = "") -> Source:
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
            f"the source holds {len(pool):,} of the {published['train']:,} published training rows: "
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
    return Source(kind, list(names), examples(pool, name), held_out, source, revision, notes, pairs=len(columns) > 1)


def _pair(rows, kind: str) -> list[str]:
    """The two columns of a task of pairs; none where one column holds the whole input."""
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
            f"column {column!r} holds scores, {scores[0]:g} among them: one score has no classes for a temperature to "
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
        raise BaselineError(f"{name}: column {column!r} does not hold images", "store encoded image bytes") from error
    if None in cells:
        raise BaselineError(f"{name}: row {cells.index(None)} of column {column!r} is empty", "remove or repair it")
    return [cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes() for cell in cells]


def decode(value: np.ndarray | bytes | Path, name: str) -> np.ndarray:
    """uint8 [H, W, C] of one image, RGB unless it already is an array. Raises BaselineError for what is no image."""
    from PIL import Image

    if isinstance(value, np.ndarray):
        return value
    try:
        with Image.open(value if isinstance(value, Path) else io.BytesIO(value)) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = value if isinstance(value, Path) else f"{len(value):,} bytes that begin with {value[:8]!r}"
        raise BaselineError(f"{name}: not a whole image: {what}", "remove it, or store PNG, JPEG or WebP") from error


# ── splitting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _with_carved_test(source: Source) -> Source:
    order = _stratified(source.pool.labels, seed=0)
    cut = len(order) // 5
    note = f"no test split in the source: {cut:,} of its {len(order):,} rows are held out as test rows"
    return Source(
        source.kind,
        source.names,
        source.pool.take(order[cut:]),
        source.pool.take(order[:cut]),
        source.source,
        source.revision,
        [*source.notes, note],
        source.pairs,
    )


def _stratified(labels: list[int], seed: int) -> list[int]:
    """An order in which every class is spread evenly, so that any prefix has the pool's class shares."""
    labels_array = np.asarray(labels)
    generator = np.random.default_rng(seed)
    position = np.empty(len(labels_array))
    for label in np.unique(labels_array):
        rows = np.flatnonzero(labels_array == label)
        generator.shuffle(rows)
        position[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.argsort(position, kind="stable").tolist()


def _without(pool: Examples, test: Examples) -> tuple[Examples, int]:
    """The pool without rows equal to a test row or to an earlier row."""
    seen = {_fingerprint(value) for value in test.inputs}
    keep = []
    for index, value in enumerate(pool.inputs):
        key = _fingerprint(value)
        if key not in seen:
            seen.add(key)
            keep.append(index)
    return pool.take(keep), len(pool) - len(keep)


def _fingerprint(value) -> bytes:
    """Equal for texts that differ in case and blanks only."""
    return hashlib.sha256(" ".join(value.lower().split()).encode() if isinstance(value, str) else _raw(value)).digest()


def _raw(value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else value.tobytes()


def _digest(files: list[Path]) -> str:
    """Names and content of the files, short enough to read out; no folder names, which differ between machines."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    counted = Counter(path.suffix[1:] for path in files)
    return f"{', '.join(f'{n} {kind}' for kind, n in counted.items())} {digest.hexdigest()[:16]}"


def _arrow_cache() -> str:
    return os.environ.get("KDAGENT_ARROW_CACHE") or str(Path.home() / ".cache" / "kdagent" / "arrow")
