"""The user's choices on the command line, before any other source."""

import json
import shlex
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sandbox.isolation.names import Preference

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
    isolation: Preference = "auto"
    yes: bool = False
    plan_only: bool = False
    values: dict[str, object] = field(default_factory=dict)
    """Plan fields the user fixed, by path: `seeds`, `temperature`, `training.epochs`, `ag_news.method.alpha`."""
    bf16: bool = False
    """Whether the machine that the run was asked for on multiplies in bf16; a replay elsewhere has the same plan."""
    paces: dict[str, dict[str, object]] = field(default_factory=dict)
    """By track, a replayed run's measurement of compiling; it is not repeated, so that the plan is the same."""
    replay: Literal["", "report", "agent", "full", "live"] = ""
    """At what level the run replays its parent; "" for a run of its own."""
    own_name: str = ""
    """Of a replay on data of the user's own: what their track is called in the record, whatever the file is called."""
    own_kind: Literal["", "text", "image", "language"] = ""
    """Likewise, what their rows are."""
    amends: str = ""
    """Hash of the plan that this one amends."""
    proposal: dict[str, object] = field(default_factory=dict)
    """A model's proposal for the amended plan; it is not asked again."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def without_addressees(self) -> "Options":
        """Of somebody else's run: they choose neither its isolation, nor who is sent our key."""
        return replace(self, isolation="auto", model="", base_url="")

    @property
    def own(self) -> bool:
        """Whether the task is one of the user's own."""
        return bool(self.data or self.own_name)

    @property
    def command(self) -> str:
        """The command line that starts the same run; placeholders stand for folders of this machine."""
        return shlex.join(["kdagent", *self.words])

    @property
    def words(self) -> list[str]:
        """Its words, from `run` on."""
        words = ["run", self.idea, "--scale", self.scale]
        words += [word for name in self.tasks for word in ("--task", name)]
        words += ["--data-dir", "DATA"] * bool(self.data_dir) + ["--data", "DATA"] * self.own
        words += ["--model", self.model] * bool(self.model) + ["--base-url", self.base_url] * bool(self.base_url)
        for path, value in self.values.items():
            words += ["--set", f"{path}={value if isinstance(value, str) else json.dumps(value)}"]
        return [*words, "--isolation", self.isolation, "--yes"]

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Options":  # any: run.json, of this version or an earlier one
        return cls(**record | {"tasks": tuple(record["tasks"])})
