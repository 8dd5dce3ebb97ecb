"""Tasks: where their rows come from.

Sources, in this order: the embedded tasks; a folder the user names; the local Hugging Face cache; the hub at a pinned
revision. Nothing is swapped silently: what was used is in `DataSource.source`, and every oddity in `DataSource.notes`.
"""

import hashlib
import os
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np

from baselines.data.columns import decode, from_datasets
from baselines.data.corpora import as_corpus
from baselines.data.examples import DataSource, Examples, identity
from baselines.data.hub import snapshot
from baselines.data.splits import stratified
from baselines.errors import BaselineError, reason

CARDS = tomllib.loads((Path(__file__).parents[1] / "tasks.toml").read_text())


def load(task: dict) -> DataSource:
    """Rows of `task`: {name, data_dir | data}. Raises BaselineError naming the source, the column and the value."""
    name = task["name"]
    if task.get("data"):
        return _from_folder(Path(task["data"]), name, {"kind": task.get("kind", "")}, own=True)
    card = CARDS[name]
    if card["kind"] == "language":
        return as_corpus(load(task | {"name": card["texts"]}))
    if card["embedded"]:
        return _digits(card) if name == "digits" else _docstrings(card)
    if task.get("data_dir"):
        return _from_folder(_task_folder(Path(task["data_dir"]), name), name, card)
    return _from_hub(name, card)


# ── embedded tasks ──────────────────────────────────────────────────────────────────────────────────────────────────


def _digits(card: dict) -> DataSource:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    examples = Examples(list(pixels), bunch.target.tolist())
    order = stratified(examples.labels, seed=0)
    test, pool = order[:500], order[500:]
    return DataSource(
        "image", card["labels"], examples.take(pool), examples.take(test), "embedded: scikit-learn digits"
    )


def _docstrings(card: dict) -> DataSource:
    from baselines.data import docstrings

    versions, rows = docstrings.read(card)
    examples = Examples([text for text, _ in rows], [label for _, label in rows])
    order = stratified(examples.labels, seed=0)
    test, pool = order[:4000], order[4000:]
    return DataSource(
        "text",
        card["labels"],
        examples.take(pool),
        examples.take(test),
        f"embedded: docstrings of {versions}",
        notes=[f"{len(rows):,} texts in all, read from those versions once; they ship with kdagent"],
    )


# ── files and the hub ───────────────────────────────────────────────────────────────────────────────────────────────


def _task_folder(data_dir: Path, name: str) -> Path:
    if not data_dir.is_dir():
        raise BaselineError(f"data folder {data_dir} does not exist", "check --data-dir")
    if (data_dir / name).is_dir():
        return data_dir / name
    if _files(data_dir, "train"):
        return data_dir
    raise BaselineError(
        f"{data_dir} has neither a folder {name!r} nor a train file", f"put the rows in {data_dir / name}/train.parquet"
    )


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(p for p in folder.glob(f"{split}*") if p.suffix in (".parquet", ".csv") and p.is_file())


def _from_folder(folder: Path, name: str, card: dict, own: bool = False) -> DataSource:
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
        raise BaselineError(f"{folder} has neither train*.parquet nor train*.csv", "put the training rows there")
    pool = _read(train)
    held_out = _read(test) if test else None
    source = from_datasets(pool, held_out, name, card, source=f"folder: {_digest(train + test)}")
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
            f"cannot read {names}: {reason(error.__cause__ or error)}", "is the file complete and readable?"
        ) from error


def _from_image_folder(folder: Path, name: str) -> DataSource:
    root = folder / "train" if (folder / "train").is_dir() else folder
    names = _classes(root)
    pool = _images_of(root, names)
    digest = hashlib.sha256(b"".join(map(identity, pool.inputs))).hexdigest()[:16]
    test = _images_of(folder / "test", names) if (folder / "test").is_dir() else Examples([], [])
    source = DataSource("image", names, pool, test, f"image folder: {name} {digest}")
    return source if len(test) else _with_carved_test(source)


def _classes(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images_of(folder: Path, names: list[str]) -> Examples:
    if unknown := sorted(set(_classes(folder)) - set(names)):
        raise BaselineError(f"{folder / unknown[0]}: no training image is of class {unknown[0]}", "remove the folder")
    files = [(path, label) for label, name in enumerate(names) for path in sorted((folder / name).glob("*"))]
    return Examples([decode(path, folder.name) for path, _ in files], [label for _, label in files])


def _from_hub(name: str, card: dict) -> DataSource:
    within, held_out = card.get("folder", ""), card.get("test_split", "test")
    folder = snapshot(card["hub"], card["revision"], [f"{within}/*.parquet" if within else "*.parquet"], "dataset")
    parts = {split: sorted((folder / within).rglob(f"{split}*.parquet")) for split in ("train", held_out)}
    if missing := [split for split, files in parts.items() if not files]:
        raise BaselineError(
            f"{card['hub']} at {card['revision'][:12]} has no {missing[0]}*.parquet",
            "delete its folder in the Hugging Face cache, or use --data-dir FOLDER",
        )
    where = os.environ.get("HF_ENDPOINT", "") and " (from a different endpoint)"
    pool, test = _read(parts["train"]), _read(parts[held_out])
    source = from_datasets(pool, test, name, card, f"hub: {card['hub']}{where}", card["revision"])
    if held_out != "test":
        source.notes.append(f"the published test rows have no labels: the rows of {held_out} are the test rows")
    return source


def _with_carved_test(source: DataSource) -> DataSource:
    order = stratified(source.pool.labels, seed=0)
    cut = len(order) // 5
    note = f"no test split in the source: {cut:,} of its {len(order):,} rows are held out as test rows"
    return DataSource(
        source.kind,
        source.names,
        source.pool.take(order[cut:]),
        source.pool.take(order[:cut]),
        source.source,
        source.revision,
        [*source.notes, note],
        source.pairs,
    )


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
