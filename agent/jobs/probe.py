"""The probe: whether a few steps of training depend on the teacher's outputs.

The edited file runs as it is, again, and with one teacher output at a time shuffled over the rows. This is the distance
between the weights these variants end with, measured outside the processes that trained them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from agent.jobs.outputs import PROBE
from agent.record.probe import Probe
from sandbox import intake
from sandbox.errors import IntakeRejected
from sandbox.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


START, AS_IS, AGAIN = "start", "as-is", "again"
MOST_WEIGHTS = 4 << 30  # bytes of one model


def measure(folder: Path, steps: int, scratch: Path) -> Probe:
    """From the weights of every variant in `folder`; `scratch` is a file's name to use. Raises IntakeRejected where one
    left none."""
    variants = intake.read_json(folder, "probe.json", schema=PROBE)["variants"]
    if variants[:2] != [AS_IS, AGAIN]:
        raise IntakeRejected(f"probe.json does not begin with {AS_IS} and {AGAIN}")
    header = intake.read_tensors(folder, f"{AS_IS}/weights.safetensors", MOST_WEIGHTS)
    as_is = _weights(folder, AS_IS, header, scratch)
    names = [START, *variants[1:]]
    distances = {name: _distance(as_is, _weights(folder, name, header, scratch)) for name in names}
    scratch.unlink()
    moved, again = distances.pop(START), distances.pop(AGAIN)
    return Probe(schema=1, steps=steps, moved=moved, again=again, shuffled=distances)


def _weights(folder: Path, variant: str, header: dict[str, Tensor], scratch: Path) -> "dict[str, NDArray[np.generic]]":
    from safetensors.numpy import load_file

    intake.read_tensors(folder, f"{variant}/weights.safetensors", MOST_WEIGHTS, header, scratch)
    return load_file(scratch)


def _distance(ours: "dict[str, NDArray[np.generic]]", theirs: "dict[str, NDArray[np.generic]]") -> float:
    import numpy as np

    moves = (np.asarray(value, np.float64) - np.asarray(theirs[name], np.float64) for name, value in ours.items())
    return float(sum(float(np.square(move).sum()) for move in moves) ** 0.5)
