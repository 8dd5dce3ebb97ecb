"""The header of a safetensors file, checked before any library sees the file.

Eight bytes give the header's length; the header is a JSON object with type, shape and place of every tensor; the
rest of the file is numbers, which cannot do harm. Format: https://github.com/huggingface/safetensors, "Format".
"""

import math
from dataclasses import dataclass
from typing import Any

from sandbox import schema

LONGEST_HEADER = 4 << 20  # some thirty thousand tensors
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

_PLACE = 1 << 48  # bytes; far above any file
_ENTRY = schema.record(
    {
        "dtype": schema.choice(*SIZES),
        "shape": schema.items(schema.integer(0, _PLACE), 8),
        "data_offsets": schema.items(schema.integer(0, _PLACE), 2),
    }
)
_NOTES = schema.mapping(schema.text(10_000), 100)


@dataclass(frozen=True)
class Tensor:
    """What the header of a safetensors file declares for one tensor."""

    dtype: str
    """A key of SIZES."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]


def tensors(header: dict[str, Any], data: int) -> dict[str, Tensor]:
    """The tensors that a parsed `header` declares for `data` bytes of numbers.

    Raises ValueError unless they fill these bytes without a gap and without sharing any.
    """
    if wrong := _NOTES(header.pop("__metadata__", {})):
        raise ValueError(f"__metadata__ {wrong}")
    if wrong := schema.mapping(_ENTRY, 1_000_000)(header):
        raise ValueError(wrong)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        size = Tensor(entry["dtype"], tuple(entry["shape"])).size
        if entry["data_offsets"] != [end, end + size]:
            raise ValueError(
                f"{name!a} takes the bytes {entry['data_offsets']}; its type and shape, and the tensor before it, "
                f"give {[end, end + size]}"
            )
        end += size
    if end != data:
        raise ValueError(f"its tensors take {end} bytes but the file has {data}")
    return {name: Tensor(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
