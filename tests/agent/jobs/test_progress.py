"""Live progress, on a terminal and where nobody watches, beside a writer that is not trusted."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from agent.jobs import progress
from agent.jobs.progress import Progress
from agent.record.clock import Clock

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
LOG = {"event": "log", "step": 3, "of": 12, "loss": 0.25, "seconds": 1.5}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.02)


def shown(folder: Path, terminal: bool = False, quiet: bool = False) -> str:
    """What one short phase shows of the traces below a folder; a terminal is drawn four times a second."""
    screen = io.StringIO()
    watcher = Progress(Console(file=screen, force_terminal=terminal, width=120), Clock(), quiet)
    with watcher.phase("train kd", ["digits"]):
        watcher.watch("digits", folder, 4)
        time.sleep(0.3 if terminal else 0.1)
    assert watcher.clock.phases["train kd"] >= 0.1
    return screen.getvalue()


def trace(folder: Path, *lines: str, trial: str = "kd/0") -> None:
    (folder / trial).mkdir(parents=True)
    (folder / trial / "trace.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.usefixtures("often")
def test_heartbeat_says_trial_step_loss_and_time_left(tmp_path: Path) -> None:
    trace(tmp_path, json.dumps(LOG))
    first, *_, last = shown(tmp_path).splitlines()
    assert first == "train kd  digits  kd seed 0 (0 of 4 done)  3/12  0.2500  22 s"
    assert last.startswith("train kd: 0.")


@pytest.mark.usefixtures("often")
def test_trials_that_have_not_begun_are_starting(tmp_path: Path) -> None:
    assert shown(tmp_path).splitlines()[0].split() == ["train", "kd", "digits", "0", "of", "4", "done,", "starting"]


@pytest.mark.usefixtures("often")
def test_newest_trial_and_the_finished_ones_are_shown(tmp_path: Path) -> None:
    trace(tmp_path, json.dumps(LOG), trial="kd/0")
    (tmp_path / "kd" / "0" / "trial.json").touch()
    time.sleep(0.02)
    trace(tmp_path, json.dumps(LOG | {"step": 6}), trial="kd/1")
    assert "kd seed 1 (1 of 4 done)  6/12" in shown(tmp_path)


def test_short_phase_without_a_terminal_is_one_line(tmp_path: Path) -> None:
    trace(tmp_path, json.dumps(LOG))
    assert shown(tmp_path).count("\n") == 1


def test_terminal_shows_a_table_and_leaves_one_line(tmp_path: Path) -> None:
    trace(tmp_path, json.dumps(LOG))
    said = shown(tmp_path, terminal=True)
    assert "train kd · 0 s" in said and "3/12" in said and "\x1b[2K" in said
    assert said.splitlines()[-1].endswith(" s")


def test_quiet_progress_says_nothing(tmp_path: Path) -> None:
    assert shown(tmp_path, terminal=True, quiet=True) == ""


def test_phases_of_one_name_add_up() -> None:
    watcher = Progress(Console(file=io.StringIO()), Clock())
    for _ in range(2):
        with watcher.phase("train", []):
            time.sleep(0.05)
    assert watcher.clock.phases["train"] >= 0.1


HOSTILE = {
    "no JSON": "{",
    "no object": "[1, 2]",
    "words for numbers": json.dumps(LOG | {"step": "three"}),
    "nothing for numbers": json.dumps(LOG | {"loss": None}),
    "no step": json.dumps(LOG | {"step": 0}),
    "below zero": json.dumps(LOG | {"step": -1}),
    "NaN": '{"event": "log", "step": NaN, "of": NaN, "loss": NaN, "seconds": NaN}',
    "infinite": '{"event": "log", "step": 1, "of": 1e999, "loss": -1e999, "seconds": 1e999}',
    "huge": '{"event": "log", "step": 1, "of": 1' + 400 * "0" + ', "loss": 1' + 400 * "0" + ', "seconds": 1}',
    "deep": "[" * 4000,
    "long": json.dumps(LOG | {"terms": "x" * 10_000}),
    "not text": "\udcff\udcfe",
}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("line", HOSTILE.values(), ids=list(HOSTILE))
@pytest.mark.usefixtures("often")
def test_hostile_trace_does_not_stop_the_show(tmp_path: Path, line: str, terminal: bool) -> None:
    (tmp_path / "kd" / "0").mkdir(parents=True)
    (tmp_path / "kd" / "0" / "trace.jsonl").write_bytes(line.encode(errors="surrogateescape") + b"\n")
    assert "digits" in shown(tmp_path, terminal)


@pytest.mark.parametrize("name", ["[/red]", "\x1b[2J\x1b[H", "[link=http://x]"])
@pytest.mark.usefixtures("often")
def test_folder_names_of_a_trial_take_no_effect_on_the_terminal(tmp_path: Path, name: str) -> None:
    trace(tmp_path, json.dumps(LOG), trial=f"{name}/0")
    said = shown(tmp_path, terminal=True)
    assert "3/12" in said
    assert "\x1b[2J" not in said and "http://x\x1b" not in said
