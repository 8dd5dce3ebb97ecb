from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


@pytest.fixture(scope="session", autouse=True)
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[Future[Gates] | None]:
    """The run behind `gates`, begun at once where a selected test needs it: it takes a minute beside the others."""
    if not any("gates" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    run = Gates(Kdagent(tmp_path_factory.mktemp("gates") / "runs", cache))
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run.pass_all)


@pytest.fixture(scope="session")
def gates(begun: Future[Gates]) -> Gates:
    """A finished run with recipes, and what it said on its way. Nothing may change it."""
    run = begun.result()
    assert run.said["done"].code == 0, run.said["done"].err
    return run
