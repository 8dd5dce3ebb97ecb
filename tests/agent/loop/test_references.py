"""The teachers of a run are noted once; what is noted is final, or its change is an event."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.loop.references import References
from agent.record import hashes, runs
from agent.record.events import EventLog
from agent.record.paths import RunPaths


class Jobs:
    """Teachers that leave the cache and are trained again: each time with other clock readings."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths, self.trained, self.found = paths, 0, "ab"

    def weights(self, *asked: object) -> dict[str, str]:
        return {"digits": self.found}

    def keep_teachers(self, *asked: object) -> None:
        self.trained += 1
        place = self.paths.teacher("digits")
        place.mkdir(parents=True, exist_ok=True)
        (place / "trace.jsonl").write_text(f'{{"seconds": {self.trained}}}\n')


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(runs.create(tmp_path, "soft labels", {}))


def note(jobs: Jobs) -> None:
    events = EventLog(jobs.paths.events)
    run = SimpleNamespace(plan=None, prepared={}, jobs=jobs, paths=jobs.paths, events=events)
    References(run)._note({"digits": "/cache/teachers/0123abcd"})  # type: ignore[arg-type]


def altered(paths: RunPaths) -> list[str]:
    known = hashes.noted(EventLog(paths.events).read())
    return [name for name, note in known.items() if hashes.Note.of_file(paths, name) != note]


def test_teacher_that_was_trained_again_to_the_same_weights_rewrites_nothing(jobs: Jobs) -> None:
    note(jobs)
    note(jobs)
    assert (jobs.trained, altered(jobs.paths)) == (1, [])
    [event] = EventLog(jobs.paths.events).read()
    assert event["data"]["entries"] == {"digits": "0123abcd"}


def test_teacher_with_other_weights_is_an_event_that_notes_its_files(jobs: Jobs) -> None:
    note(jobs)
    jobs.found = "cd"
    note(jobs)
    assert (jobs.trained, altered(jobs.paths)) == (2, [])
    assert [event["data"]["weights"]["digits"] for event in EventLog(jobs.paths.events).read()] == ["ab", "cd"]
