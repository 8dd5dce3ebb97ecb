from pathlib import Path

import pytest

from tests.agent.command import Kdagent
from tests.agent.gates import Gates


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and teachers, shared by all tests as they are by all runs."""
    return tmp_path_factory.mktemp("home") / "cache"


@pytest.fixture
def kdagent(tmp_path: Path, cache: Path) -> Kdagent:
    return Kdagent(tmp_path / "runs", cache)


@pytest.fixture(scope="session")
def gates(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Gates:
    """A finished run with recipes, and what it said on its way. Nothing may change it."""
    run = Gates(Kdagent(tmp_path_factory.mktemp("gates") / "runs", cache)).pass_all()
    assert run.said["done"].code == 0, run.said["done"].err
    return run
