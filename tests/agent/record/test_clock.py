"""Seconds of a run over every process that went on with it."""

import json
import time
from pathlib import Path

import pytest

from agent.errors import DataError
from agent.record import clock
from agent.record.clock import Clock


def test_next_process_counts_on(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    with Clock(file).kept() as first, first.phase("train"):
        time.sleep(0.1)
    with Clock(file).kept() as second, second.phase("train"):
        assert second.spent >= first.phases["train"] >= 0.1
        time.sleep(0.1)
    assert Clock(file).phases["train"] >= 0.2


def test_killed_process_has_left_the_seconds_of_its_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "KEPT", 0.02)
    file = tmp_path / "clock.json"
    with Clock(file).kept() as running, running.phase("train"):
        time.sleep(0.2)
        left = json.loads(file.read_text())
    assert left["phases"]["train"] >= 0.1 and left["spent"] >= 0.1


def test_time_in_which_somebody_is_asked_is_not_spent() -> None:
    running = Clock()
    with running.stopped():
        time.sleep(0.2)
    assert running.spent < 0.2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1, "spent": -1, "phases": {}}', '{"schema": 1, "spent": "x"}']
)
def test_file_that_is_no_clock_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clock.json"
    file.write_text(text)
    with pytest.raises(DataError, match="is not a valid clock file"):
        Clock(file)


def test_full_disk_does_not_stop_the_clock(tmp_path: Path) -> None:
    with Clock(tmp_path / "gone" / "clock.json").kept() as running:
        pass
    assert running.spent > 0
