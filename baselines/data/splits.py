"""Splits of a task's rows: how they are cut, what leaves them, and what cannot carry an experiment."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from baselines.data.examples import DataSource, Examples, identity, raw
from baselines.errors import BaselineError


@dataclass(frozen=True)
class Splits:
    """train has labels; transfer's labels are hidden from students; dev chooses; test is scored once per final arm;
    generated rows were written by a language model and have no label."""

    train: Examples
    transfer: Examples
    dev: Examples
    test: Examples
    notes: list[str]
    generated: Examples = field(default_factory=lambda: Examples([], []))

    @property
    def parts(self) -> dict[str, Examples]:
        """By name; generated rows only where there are any."""
        names = ("train", "transfer", "dev", "test", *(["generated"] if len(self.generated) else []))
        return {name: getattr(self, name) for name in names}

    def overlap(self) -> int:
        """Training, transfer, generated and dev rows that equal a test row, counted on the splits as they came out."""
        test = {identity(value) for value in self.test.inputs}
        others = (*self.train.inputs, *self.transfer.inputs, *self.generated.inputs, *self.dev.inputs)
        return sum(identity(value) in test for value in others)

    def hash(self) -> str:
        """SHA-256 over every row of every split, in order."""
        digest = hashlib.sha256()
        for examples in self.parts.values():
            digest.update(f"split {len(examples)}".encode())
            for value, label in zip(examples.inputs, examples.labels, strict=True):
                digest.update(hashlib.sha256(raw(value)).digest() + str(label).encode())
        return digest.hexdigest()


def split(source: DataSource, sizes: dict, seed: int) -> Splits:
    """Cut the splits so that every class is as common in any prefix as in the pool.

    0 training rows means all but dev's, 0 test rows all there are. dev takes a quarter of the pool at most.
    """
    pool, dropped = _without(source.pool, source.test)
    notes = list(source.notes)
    if dropped:
        notes.append(f"{dropped:,} training rows left out: equal to a test row or to another training row")
    order = stratified(pool.labels, seed)
    wanted_dev = min(sizes["dev_rows"], len(order) // 4)
    dev, rest = order[:wanted_dev], order[wanted_dev:]
    train_rows = sizes["train_rows"] or len(rest)
    train, rest = rest[:train_rows], rest[train_rows:]
    transfer = rest[: sizes["transfer_rows"]]
    test_order = stratified(source.test.labels, seed)
    test = source.test.take(test_order[: sizes["test_rows"] or len(test_order)])
    for wanted, got, what in (
        (sizes["dev_rows"], len(dev), "dev"),
        (sizes["train_rows"], len(train), "labelled training"),
        (sizes["transfer_rows"], len(transfer), "transfer"),
        (sizes["test_rows"], len(test), "test"),
    ):
        if wanted > got:
            notes.append(f"{got:,} {what} rows: {wanted:,} were requested, the source has no more")
    return Splits(pool.take(train), pool.take(transfer), pool.take(dev), test, notes)


def noisy(splits: Splits, share: float, classes: int, seed: int) -> Splits:
    """The splits with `share` of the labelled training rows, drawn by `seed`, under another class than their own."""
    labels = np.array(splits.train.labels)
    generator = np.random.default_rng([seed, 1])  # not what the order of the rows was drawn with
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    if not len(wrong):
        return splits
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    changed = "were changed to a different class, as requested (label noise)"
    note = f"{len(wrong):,} of the {len(labels):,} training labels {changed}"
    return replace(splits, train=Examples(splits.train.inputs, labels.tolist()), notes=[*splits.notes, note])


def check(source: DataSource, splits: Splits, batch_size: int) -> None:
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


def stratified(labels: list[int], seed: int) -> list[int]:
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
    seen = {identity(value) for value in test.inputs}
    keep = []
    for index, value in enumerate(pool.inputs):
        key = identity(value)
        if key not in seen:
            seen.add(key)
            keep.append(index)
    return pool.take(keep), len(pool) - len(keep)
