"""A whole run under each isolation that this machine has: what one of them refuses, the others may allow."""

import tempfile
from pathlib import Path

import pytest

from sandbox.isolation.choose import BACKENDS
from tests.agent.command import TINY, Kdagent
from tests.sandbox.lab import problem

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [each.name for each in BACKENDS if each.level])
def test_run_with_cached_layers_ends_with_its_report(name: str) -> None:
    if problem(name):
        pytest.skip(f"NOT TESTED, {problem(name)}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)  # a job that runs as another user must come through
        kdagent = Kdagent(place / "runs", place / "cache")
        said = kdagent("run", "last 3 layers", *TINY, "--seeds", "1", "--isolation", name, "--yes")
        assert said.code == 0, said.err
        kept = {path.name for path in (place / "cache" / "teachers").glob("*/*.safetensors")}
        assert {"weights.safetensors", "logits.safetensors", "features-3.safetensors"} <= kept
        [report] = (place / "runs").glob("*/report.md")
        assert f'isolation "{name}"' in report.read_text()
