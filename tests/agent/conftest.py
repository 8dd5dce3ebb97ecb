import fcntl
import os
import pickle
from pathlib import Path

import pytest

from tests.agent.command import Kdagent
from tests.agent.gates import Gates


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the whole session, whichever of its processes asks."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Prepared data and teachers, shared by all tests as they are by all runs."""
    return shared / "cache"


@pytest.fixture
def kdagent(tmp_path: Path, cache: Path) -> Kdagent:
    return Kdagent(tmp_path / "runs", cache)


@pytest.fixture(scope="session")
def gates(shared: Path, cache: Path) -> Gates:
    """A finished run with recipes, and what it said on its way. Nothing may change it."""
    kept = shared / "gates.pickle"
    with (shared / "gates.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first process makes it, the others wait
        if not kept.exists():
            kept.write_bytes(pickle.dumps(Gates(Kdagent(shared / "gates", cache)).pass_all()))
    run: Gates = pickle.loads(kept.read_bytes())
    assert run.said["done"].code == 0, run.said["done"].err
    return run
