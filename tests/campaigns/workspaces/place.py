"""Where a hostile workspace lies, and what around it must come to no harm."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CANARY = "canary-4f1d"
UNTOUCHED = "untouched\n"
TRIAL = {"schema": 1, "arm": "kd", "seed": 0, "status": "ok", "seconds": 1.5}
TRACE = [{"event": "log", "seconds": 0.5, "loss": 2.0}, {"event": "end", "seconds": 1.4, "step": 8}]
LABELS = [0, 1, 0, 1]
NAMES = ("trial.json", "trace.jsonl", "weights.safetensors", "logits.safetensors")


@dataclass(frozen=True)
class Place:
    root: Path

    @property
    def out(self) -> Path:
        """The folder that the job wrote."""
        return self.root / "out"

    @property
    def secret(self) -> Path:
        """A folder that no job may see, with files called like those that are read back."""
        return self.root / "labels"

    @property
    def outside(self) -> Path:
        """A file of the user's."""
        return self.root / "bashrc"

    @property
    def marker(self) -> Path:
        """Appears when planted code runs."""
        return self.root / "executed"

    @property
    def record(self) -> Path:
        """What the parent keeps."""
        return self.root / "record"

    @property
    def python(self) -> str:
        """Code to plant."""
        return f"import pathlib; pathlib.Path({str(self.marker)!r}).touch()\n"

    @property
    def shell(self) -> str:
        return f"touch '{self.marker}'"

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the workspace, in place of any other."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def trial(self, text: str = "", **fields: object) -> None:
        """trial.json with other fields, or with a text in place of the number of seconds."""
        written = json.dumps(TRIAL | fields)
        self.write("trial.json", written.replace("1.5", text) if text else written)


def furnished(root: Path) -> Place:
    """A good workspace, as an honest trial leaves it, beside a secret."""
    place = Place(root)
    for folder in (place.out, place.secret, place.record):
        folder.mkdir(parents=True)
    place.outside.write_text(UNTOUCHED)
    place.trial()
    place.write("trace.jsonl", "".join(json.dumps(line) + "\n" for line in TRACE))
    save_file({"classifier.weight": np.ones((2, 3), np.float32)}, place.out / "weights.safetensors")
    save_file({"logits": np.array([[1, 0]] * len(LABELS), np.float32)}, place.out / "logits.safetensors")
    for name in NAMES:
        shutil.copy(place.out / name, place.secret)
    (place.secret / "trial.json").write_text(json.dumps(TRIAL | {"error": CANARY}))
    return place
