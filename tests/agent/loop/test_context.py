"""Work is done again where an entry of the cache changed under it, and not for ever."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import CacheChanged
from agent.loop.context import Context
from agent.record import runs


class Jobs:
    def __init__(self) -> None:
        self.held, self.remade = 0, []

    def hold(self, *asked: object) -> None:
        self.held += 1
        self.remade.append(f"the teacher's files, {self.held}")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    paths = runs.create(tmp_path, "soft labels", {})
    runner = SimpleNamespace(paths=paths, progress=SimpleNamespace(say=print))
    monkeypatch.setattr(Context, "plan", None)
    monkeypatch.setattr(Context, "prepared", {})
    return Context(None, None, Jobs(), runner)  # type: ignore[arg-type]


def changing(times: int) -> list[str]:
    return [f"logits.safetensors changed, {number}" for number in range(times)]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_work_is_done_again_until_nothing_changed_under_it_and_that_is_on_record(run: Context, times: int) -> None:
    left = changing(times)

    def work() -> str:
        if left:
            raise CacheChanged(left.pop())
        return "done"

    assert run.whole(work) == "done"
    assert run.events.count("made again") == times


def test_an_entry_that_goes_on_changing_stops_the_run(run: Context) -> None:
    left = changing(9)

    def work() -> None:
        raise CacheChanged(left.pop())

    with pytest.raises(CacheChanged):
        run.whole(work)
    assert len(left) == 6
