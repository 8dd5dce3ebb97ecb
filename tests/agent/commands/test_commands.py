"""The question before training, asked on a real terminal, and the JSON of a run."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agent.record.events import EventLog
from tests.agent.command import ROOT, TINY, Kdagent
from tests.sandbox.slow_git import SlowGit

pytestmark = pytest.mark.slow


class Terminal:
    """A person in front of `kdagent run`, who has just been asked."""

    def __init__(self, kdagent: Kdagent) -> None:
        self.person, terminal = pty.openpty()
        words = [sys.executable, "-m", "agent", "run", "soft labels", *TINY]
        pipes = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(words, cwd=ROOT, env=kdagent.variables, **pipes)
        os.close(terminal)
        assert self.process.stdout is not None
        said = os.read(self.process.stdout.fileno(), 4096)
        while not said.endswith(b"[y/N] "):
            assert self.process.poll() is None, said
            said += os.read(self.process.stdout.fileno(), 4096)

    def signal(self, number: int) -> None:
        """Until it ends: one that comes in the moment before it listens is seen with the next."""
        while self.process.poll() is None:
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=60)
        os.close(self.person)
        return self.process.returncode, err.decode()


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"])
def test_plan_that_is_not_approved_waits_and_is_not_trained(kdagent: Kdagent, answer: bytes) -> None:
    terminal = Terminal(kdagent)
    os.write(terminal.person, answer)
    code, err = terminal.end()
    [folder] = kdagent.runs.iterdir()
    assert code == 8
    assert f"approve it with: kdagent resume {folder.name} --yes; reject it for good with: kdagent review" in err
    assert json.loads((folder / "run.json").read_text())["status"] == "awaiting_review"
    assert not (folder / "repository").exists()
    assert kdagent("review", folder.name).code == 8 and kdagent("resume", folder.name).code == 8
    assert kdagent("review", folder.name, "--approve").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_at_the_question_ends_it_at_once(kdagent: Kdagent, number: int) -> None:
    terminal = Terminal(kdagent)
    terminal.signal(number)
    code, err = terminal.end()
    [folder] = kdagent.runs.iterdir()
    assert code == 130
    assert err == f"kdagent: stopped\nhint: continue with: kdagent resume {folder.name}\n"
    assert json.loads((folder / "run.json").read_text())["status"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_whose_git_is_interrupted_with_it_can_be_taken_up_again(
    kdagent: Kdagent, tmp_path: Path, number: int
) -> None:
    """Ctrl-C at a terminal reaches every process of the command, git among them."""
    git = SlowGit(tmp_path / "bin", "mktree")
    words = [sys.executable, "-m", "agent", "run", "soft labels", *TINY, "--yes"]
    environment = kdagent.variables | {"PATH": git.path}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    git.wait()
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    [folder] = kdagent.runs.iterdir()
    assert (process.returncode, json.loads((folder / "run.json").read_text())["status"]) == (130, "cancelled"), err
    resumed, log = kdagent.start("resume", folder.name), EventLog(folder / "events.jsonl")
    while log.read()[-1]["kind"] in ("stopped", "resumed") and resumed.poll() is None:
        time.sleep(0.05)
    resumed.send_signal(signal.SIGTERM)  # it has gone on: what comes now is no longer about git
    assert resumed.wait(timeout=120) == 130, log.read()


def test_sizes_and_label_noise_have_flags_of_their_own(kdagent: Kdagent) -> None:
    sizes = ("--train-size", "80", "--transfer-size", "40", "--label-noise", "0.25")
    said = kdagent("run", "soft labels", "--task", "digits", *sizes, "--plan-only", "--yes", "--isolation", "process")
    [folder] = kdagent.runs.iterdir()
    task = json.loads((folder / "plan.json").read_text())["tracks"][0]["task"]
    assert (said.code, task["train_rows"], task["transfer_rows"], task["label_noise"]) == (0, 80, 40, 0.25)
    assert any("20 of the 80 training labels were changed to a different class" in note for note in task["notes"])


def test_views_are_in_the_plan_that_is_shown(kdagent: Kdagent) -> None:
    wanted = ("--task", "digits", "--set", "views=4")
    said = kdagent("run", "soft labels", *wanted, "--plan-only", "--yes", "--isolation", "process")
    assert said.code == 0, said.err
    assert re.search(r"views +4 +user", said.out)


@pytest.mark.slow
def test_a_plan_of_long_trials_says_what_compiling_would_do(kdagent: Kdagent) -> None:
    asked = ("run", "kd", "--task", "digits", "--method", "kd", "--plan-only", "--isolation", "process")
    long, short = kdagent(*asked, "--set", "epochs=60"), kdagent(*asked)
    said = re.search(r"compiling: not compiled: a step takes (.*) ms, too short for compiling to be tried", long.out)
    assert said and 0 < float(said[1]) < 100
    assert "compil" not in short.out + short.err


def test_plan_that_no_row_decides_about_is_refused_before_any_are_prepared(tmp_path: Path) -> None:
    kdagent = Kdagent(tmp_path / "runs", tmp_path / "cache")
    wanted = ("--task", "docstrings", "--method", "finetune", "--set", "generated_rows=9", "--isolation", "process")
    said = kdagent("run", "fine-tune the student on texts that a teacher never saw", *wanted, "--plan-only")
    assert said.code == 2 and "finetune learns only from labelled rows" in said.err
    assert not (kdagent.cache / "data").exists()


def test_json_of_a_planned_run_is_one_document(kdagent: Kdagent) -> None:
    said = kdagent("run", "soft labels", *TINY, "--plan-only", "--json")
    assert (said.code, said.err) == (0, "")
    assert (said.json["schema"], said.json["run"]["status"], said.json["results"]) == (1, "planned", None)
    [folder] = kdagent.runs.iterdir()
    assert Path(said.json["report"]) == folder / "report.md"


def test_plan_that_was_changed_after_it_was_frozen_is_refused(kdagent: Kdagent) -> None:
    kdagent("run", "soft labels", *TINY, "--plan-only")
    [folder] = kdagent.runs.iterdir()
    text = (folder / "plan.json").read_text()
    for changed, problem in (
        (text.replace('"epochs": 1.0', '"epochs": 9.0'), "is not the plan"),
        ("{}", "cannot be read"),
    ):
        (folder / "plan.json").write_text(changed)
        said = kdagent("resume", "@last", "--yes")
        assert said.code == 2 and said.err.startswith(f"kdagent: {folder / 'plan.json'} {problem}")
    (folder / "plan.json").write_text(text)
    assert kdagent("resume", "@last").code == 8
