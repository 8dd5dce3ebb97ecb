"""Reported evaluations: the metrics dictionary that HF's Trainer prints, and what its digits reveal."""

import ast
import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.errors import DataError
from agent.metrics.arithmetic import MOST_CANDIDATES, Printed, Size, batches, counts, interval, rights, sizes

NAMES = ("loss", "accuracy", "runtime", "samples_per_second", "steps_per_second", "samples")
KEY = re.compile(rf"(?:(?P<prefix>\w[\w.-]*)_)?(?P<name>{'|'.join(NAMES)})")
LARGEST = 1 << 20  # bytes of a file
LARGEST_NUMBER, SMALLEST_NUMBER = 9, -30  # powers of ten
HINT = "give a JSON object of metrics, such as the eval_results.json of a Trainer"


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a dictionary that share a prefix such as `eval_`."""

    file: str
    prefix: str
    alone: bool
    """Whether the file contains nothing else."""
    numbers: dict[str, Printed]
    infinite: tuple[str, ...] = ()
    """Metrics that are not finite numbers."""

    @property
    def name(self) -> str:
        return self.file if self.alone else f"{self.file} ({self.prefix or 'no prefix'})"

    def __getitem__(self, name: str) -> Printed | None:
        return self.numbers.get(name)

    @property
    def speeds(self) -> bool:
        return {"runtime", "samples_per_second", "steps_per_second"} <= self.numbers.keys()

    @cached_property
    def sizes(self) -> tuple[Size, ...] | None:
        """The sizes that the speeds allow, those that fit the accuracy first; None where they leave it open."""
        if not self.speeds:
            return None
        runtime, rows, steps = (self.numbers[n] for n in ("runtime", "samples_per_second", "steps_per_second"))
        if len(counts(runtime, rows)) * len(counts(runtime, steps)) > MOST_CANDIDATES:
            return None
        found = tuple(size for size in sizes(runtime, rows, steps) if batches(size))
        return tuple(size for size in found if self.fits(size.rows)) or found

    def fits(self, rows: int) -> bool:
        """Whether that number of rows can give the accuracy."""
        return not (accuracy := self["accuracy"]) or bool(rights(accuracy, rows))

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The numbers of rows that are possible; empty where they are unknown."""
        if samples := self["samples"]:
            return (int(samples.value),)
        return tuple(sorted({size.rows for size in self.sizes or ()}))

    @property
    def size(self) -> int:
        """The number of rows where it is certain, else 0."""
        return self.rows[0] if len(self.rows) == 1 else 0

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(sorted({size.steps for size in self.sizes or ()}))

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that cut the rows into the steps."""
        return tuple(sorted({b for size in self.sizes or () if size.rows in self.rows for b in batches(size)}))

    @property
    def right(self) -> range:
        """How many rows may have been answered correctly; empty where that is unknown."""
        accuracy = self["accuracy"]
        found = rights(accuracy, self.size) if accuracy and self.size else range(0)
        return range(max(0, found.start), min(found.stop, self.size + 1))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy, over all that it may be."""
        return interval(self.right[0], self.size)[0], interval(self.right[-1], self.size)[1]


def read(path: Path) -> list[Evaluation]:
    """The evaluations of a file. Raises DataError where there is none to be found."""
    found = _object(path)
    groups: dict[str, dict[str, Decimal]] = {}
    for key, value in found.items():
        named = KEY.fullmatch(key)
        if named and (number := _number(path, key, value)) is not None:
            groups.setdefault(named["prefix"] or "", {})[named["name"]] = number
    if not groups:
        raise DataError(f"{path} has no metric such as eval_accuracy or eval_runtime", HINT)
    epoch = _number(path, "epoch", found.get("epoch"))
    more = {} if epoch is None else {"epoch": epoch}
    return [_evaluation(path, prefix, len(groups) == 1, group | more) for prefix, group in groups.items()]


def _evaluation(path: Path, prefix: str, alone: bool, numbers: dict[str, Decimal]) -> Evaluation:
    finite = {key: Printed(number) for key, number in numbers.items() if number.is_finite()}
    return Evaluation(str(path), prefix, alone, finite, tuple(numbers.keys() - finite.keys()))


def _object(path: Path) -> dict[str, Any]:
    """JSON, or the Python dictionary that a log shows. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}", HINT)
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, {LARGEST:,} are the most", HINT)
    try:
        found = _parsed(path.read_text(encoding="utf-8"))
    except (ValueError, SyntaxError, RecursionError, MemoryError, InvalidOperation) as error:
        raise DataError(f"{path} cannot be read: {str(error) or type(error).__name__}", HINT) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} contains a {type(found).__name__}, not an object of metrics", HINT)
    return {str(key): value for key, value in found.items()}


def _parsed(text: str) -> Any:
    """Numbers stay as they were printed, as far as the format allows."""
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    except json.JSONDecodeError:
        if "'" not in text:
            raise
        return ast.literal_eval(text.strip())


def _number(path: Path, key: str, value: Any) -> Decimal | None:
    """None for a value that is not a number. Raises DataError for one beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, Decimal | float | int | str):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    if number.is_finite() and not SMALLEST_NUMBER <= number.adjusted() <= LARGEST_NUMBER:
        raise DataError(f"{path}: {key} = {str(number)[:30]} is not a number that a metric can have", HINT)
    return number
