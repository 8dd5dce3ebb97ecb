"""Prepared rows: integers on disk, dictionaries in a Dataset.

Texts are tokenised once to ragged int32 arrays, images are uint8; both are stored as safetensors, which store numbers
and nothing that could run, and are mapped into memory, so that a row that nobody asks for costs next to none. Rows of
the kind "language" are token ids as those of "text" are, but have no label: what follows each token is to be learned.
"""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch.utils.data import Dataset

NO_LABEL = -100


class Rows(Dataset):
    """Rows of one split. `rows[i]` holds `ids` (its place in train + transfer + generated), inputs and `labels`."""

    def __init__(self, kind: str, items: Sequence[np.ndarray], labels: np.ndarray, ids: np.ndarray) -> None:
        self.kind, self.items, self.labels, self.ids = kind, items, labels, ids

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict:
        name = "pixels" if self.kind == "image" else "input_ids"
        return {"ids": self.ids[index], name: self.items[index], "labels": self.labels[index]}

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(
            self.kind,
            Joined(self.items, other.items),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.ids, other.ids]),
        )

    def only(self, places: Sequence[int]) -> "Rows":
        """The rows at these places; each keeps its id."""
        return Rows(self.kind, [self.items[place] for place in places], self.labels[places], self.ids[places])


class Ragged(Sequence):
    """Texts of `lengths`, one after another in the array `tokens`."""

    def __init__(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        self.tokens, self.bounds = tokens, np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, place: int) -> np.ndarray:
        place = range(len(self))[place]
        return self.tokens[self.bounds[place] : self.bounds[place + 1]]


class Joined(Sequence):
    """The items of several sequences, none of them copied."""

    def __init__(self, *parts: Sequence) -> None:
        self.parts = parts
        self.bounds = [0, *np.cumsum([len(part) for part in parts]).tolist()]

    def __len__(self) -> int:
        return self.bounds[-1]

    def __getitem__(self, place: int) -> np.ndarray:
        place = range(len(self))[place]
        number = bisect_right(self.bounds, place) - 1
        return self.parts[number][place - self.bounds[number]]


def write_inputs(path: Path, kind: str, items: list[np.ndarray], labels: np.ndarray | None) -> None:
    """Inputs of a split, with its labels unless they must not be seen there."""
    if kind != "image":
        lengths = np.array([len(item) for item in items], dtype=np.int64)
        flat = np.concatenate(items) if items else np.empty(0, np.int32)
        arrays = {"tokens": flat.astype(np.int32), "lengths": lengths}
    else:
        arrays = {"pixels": np.stack(items) if items else np.empty((0, 1, 1, 1), np.uint8)}
    if labels is not None:
        arrays["labels"] = labels.astype(np.int64)
    save_file(arrays, path)


def read_rows(path: Path, kind: str, first_id: int = 0, labels: np.ndarray | None = None) -> Rows:
    """Rows of a split; labels are the file's, the given ones, or NO_LABEL."""
    arrays = {name: values.numpy() for name, values in load_file(path).items()}
    items = arrays["pixels"] if kind == "image" else Ragged(arrays["tokens"], arrays["lengths"])
    if labels is None:
        labels = arrays.get("labels", np.full(len(items), NO_LABEL, dtype=np.int64))
    return Rows(kind, items, labels, np.arange(first_id, first_id + len(items)))
