"""A lint of a plan, before anything trains. A refusal stops it; a warning is shown, recorded and left to the user."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Lint:
    level: Literal["warning", "refusal"]
    field: str
    message: str
    hint: str = ""
