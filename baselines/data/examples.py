"""Rows as a source has them: texts, or images as arrays, with their labels."""

import hashlib
from dataclasses import dataclass, field

BETWEEN = " [SEP] "  # stands between the two texts of a pair, as BERT's vocabulary and our own know it


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
class DataSource:
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


def identity(value) -> bytes:
    """Equal for texts that differ in case and blanks only."""
    return hashlib.sha256(" ".join(value.lower().split()).encode() if isinstance(value, str) else raw(value)).digest()


def raw(value) -> bytes:
    """Its text in UTF-8, its encoded bytes, or its pixels."""
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else value.tobytes()
