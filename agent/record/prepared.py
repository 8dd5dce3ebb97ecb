"""What the prepare process found out about a track's rows and models: facts.json, read once and typed from then on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from agent.errors import DataError
from agent.frozen import Record
from agent.record.files import first_problem
from agent.record.pace import Pace

if TYPE_CHECKING:
    from agent.record.paths import RunPaths

Who = Literal["teacher", "assistant", "student"]


class Fact(Record):
    """Of facts.json, which other versions write with more or fewer fields."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, serialize_by_alias=True)


class ModelFacts(Fact):
    spec: dict[str, object]
    """What the model is built from: a ModelSpec, its checkpoint a folder beside the rows. Handed on as it is."""
    class_: str = Field(alias="class")
    parameters: int
    size_mb: float
    """Megabytes of 10^6 bytes."""
    layers: int
    maps: tuple[int, ...] = ()
    """Pixels a side of the map that each layer of a CNN gives; nothing for other models."""

    @property
    def called(self) -> str:
        return f"{self.class_}, {self.parameters:,} parameters"


class TaskFacts(Fact):
    """What is fed to the models; the rest depends on the kind of the rows."""

    kind: Literal["text", "image", "language"]
    labels: tuple[str, ...]

    model_config = ConfigDict(extra="allow")


class Prepared(Fact):
    """The rows and models of one track."""

    schema_: Literal[1] = Field(1, alias="schema")
    task: TaskFacts
    models: dict[Who, ModelFacts]
    apart: bool = False
    """Whether the teacher reads the rows in tokens of its own."""
    source: str
    revision: str
    notes: tuple[str, ...]
    hash: str
    """SHA-256 over every row of every split, in order."""
    encoded: str
    """SHA-256 over what the models are fed."""
    overlap: int
    """Test rows that equal a row that is learned from."""
    rows: dict[str, int]
    """Split → how many there are."""
    label_counts: dict[str, tuple[int, ...]]
    """Split → rows of each class; nothing where labels are hidden."""
    tokens: int | None = None
    generated: dict[str, object] | None = None
    """Facts of the language model that wrote rows: settings of any kind, shown as they are."""
    pace: Pace | None = None
    """The measured effect of compiling the student, where it was measured."""
    folder: str = ""
    """Where the rows are in the cache."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file there."""
    job: dict[str, object] | None = None
    """The job of the prepare process, so that the rows can be prepared again; absent in early records."""

    @property
    def seen(self) -> Path:
        """What trials may see."""
        return Path(self.folder) / "seen"

    @property
    def labels(self) -> Path:
        return Path(self.folder) / "labels"

    def held(self, split: str) -> dict[str, str]:
        """Where the inputs and the labels of dev or test rows are."""
        name = f"{split}.safetensors"
        return {"inputs": str(Path(self.folder) / "held" / name), "labels": str(self.labels / name)}

    def read_by(self, who: str) -> Path:
        """The folder of the rows as that model reads them."""
        return Path(self.folder) / "teacher" if who == "teacher" and self.apart else Path(self.folder)

    def copied(self, who: str) -> dict[str, str]:
        """The hashes of a checkpoint's files as they were copied beside the rows."""
        return {name: found for name, found in self.files.items() if name.startswith(f"seen/{who}/")}


class Facts(NamedTuple):
    tracks: dict[str, Prepared]
    warnings: tuple[str, ...]

    def text(self) -> str:
        tracks = {name: each.model_dump(mode="json", exclude_unset=True) for name, each in self.tracks.items()}
        return json.dumps({"tracks": tracks, "warnings": list(self.warnings)}, indent=1)


def read_prepared(path: Path) -> Prepared:
    """The facts of one track, as the prepare process left them. Raises DataError."""
    with _readable(path):
        return Prepared.model_validate_json(path.read_bytes())


def read_facts(paths: "RunPaths") -> Facts:
    """facts.json of a run. Raises DataError when this version cannot read it."""
    with _readable(paths.facts):
        found = json.loads(paths.facts.read_text())
        tracks = {name: Prepared.model_validate(each) for name, each in found["tracks"].items()}
        return Facts(tracks, tuple(map(str, found["warnings"])))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{path} cannot be read: {first_problem(error)}", "restore the file") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", "restore the file") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error!r:.200}", "restore the file") from error
