"""What the user asked for on the command line, before anything else has a say."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Scale = Literal["demo", "small", "paper"]


@dataclass(frozen=True)
class Options:
    idea: str
    scale: Scale = "demo"
    tasks: tuple[str, ...] = ()
    """Empty means the scale's own tracks."""
    data_dir: str = ""
    """A folder with one sub-folder per known task."""
    data: str = ""
    """A task of the user's own: a CSV or parquet file, a folder of them, or an image folder."""
    model: str = ""
    base_url: str = ""
    isolation: Literal["auto", "bwrap", "process"] = "auto"
    yes: bool = False
    plan_only: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    """Plan fields the user fixed, by path: `seeds`, `temperature`, `training.epochs`, `ag_news.method.alpha`."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Options":
        return cls(**record | {"tasks": tuple(record["tasks"])})
