"""`kdagent cache`: what is in the cache in words, and how it goes."""

import fcntl
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cache import entries
from agent.cache.inventory import inventory
from agent.cache.trials import TrialStore
from agent.cli import main
from agent.record import runs
from agent.record.paths import RunPaths
from tests.agent.cache.test_trials import trial
from tests.agent.command import ROOT

DATA, TEACHER, OTHER, PACE = "d0" * 16, "e0" * 16, "e1" * 16, "fa" * 16
MODEL = {"class": "ResNet", "parameters": 77754}
DAY = 86400
DAMAGED = (
    *(f"data/{DATA}/facts.json", f"data/{DATA}.json", f"teachers/{TEACHER}.json", f"paces/{PACE}.json"),
    "trials/*/origin.json",
    *("trials/*/trial.json", "arrow/csv/*/*/dataset_info.json", "../runs/2026-a/results.json"),
)


@pytest.fixture
def stocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one of each kind, and one run that names two of them."""
    folder = tmp_path / "cache"
    for kind, key in (("data", DATA), ("teachers", TEACHER), ("teachers", OTHER)):
        with entries.alone(folder / kind / key):
            (folder / kind / key).mkdir()
            (folder / kind / key / "weights.safetensors").write_bytes(bytes(5000))
    (folder / "data" / DATA / "facts.json").write_text('{"rows": {"train": 1200, "transfer": 0, "test": 30}}')
    entries.note(folder / "data" / DATA, {"track": "digits"})
    for key in (TEACHER, OTHER):
        entries.note(folder / "teachers" / key, {"track": "digits", "arm": "teacher", "rows": 1200} | MODEL)
    made = trial(tmp_path / "trials" / "vanilla_kd" / "digits" / "3", arm="vanilla_kd", seed=3)
    TrialStore(folder / "trials", "2026-a").give({"seed": 3}, made)
    with entries.alone(folder / "paces" / PACE):
        (folder / "paces" / PACE).mkdir()
    entries.note(folder / "paces" / PACE, {"track": "digits"})
    (folder / "arrow" / "csv" / "default-0f" / "0.0.0").mkdir(parents=True)
    info = {"splits": {"train": {"num_examples": 4000}}, "features": {"text": {}, "label": {}}}
    (folder / "arrow" / "csv" / "default-0f" / "0.0.0" / "dataset_info.json").write_text(json.dumps(info))
    (folder / "arrow" / "docstrings-0f.json").write_text("[]")
    (folder / "arrow" / "_x_csv_default-0f_0.0.0.lock").touch()
    run(tmp_path / "runs", "2026-a", 0.875)
    monkeypatch.setenv("KDAGENT_CACHE", str(folder))
    monkeypatch.setenv("KDAGENT_RUNS", str(tmp_path / "runs"))
    return folder


def run(folder: Path, name: str, accuracy: float) -> None:
    paths = RunPaths(folder / name)
    paths.folder.mkdir(parents=True)
    runs.update(paths, schema=1, id=name, status="succeeded", created="", options={})
    paths.facts.write_text(json.dumps({"folder": f"/cache/data/{DATA}", "teacher": f"/cache/teachers/{TEACHER}"}))
    scores = {"accuracy": accuracy}
    arm = {"name": "vanilla_kd", "trials": [{"seed": 3, "scores": scores}]}
    track = {"name": "digits", "teacher_scores": scores, "arms": [arm]}
    paths.results.write_text(json.dumps({"tracks": [track]}))


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["cache", "ls", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == 1 and said["bytes"] == sum(each["bytes"] for each in said["entries"])
    found: list[dict[str, Any]] = said["entries"]
    return found


def test_every_entry_says_what_it_holds_and_which_runs_name_it(
    stocked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "digits: teacher, ResNet of 77,754 parameters, and its answers to 1,200 rows"
    texts = "texts of the embedded task as an earlier kdagent kept them; not used any more"
    assert [(each["kind"], each["about"], each["runs"]) for each in listed(capsys)] == [
        ("data", "digits: 1,200 train, 30 test rows", ["2026-a"]),
        ("teacher", f"{model}, accuracy 0.875", ["2026-a"]),
        ("teacher", model, []),
        ("trial", "digits: vanilla_kd, seed 3, of run 2026-a, accuracy 0.875", []),
        ("pace", "digits: time of a step of its student, plain and compiled", []),
        ("source", texts, []),
        ("source", "4,000 rows of csv files: text, label", []),
    ]
    assert main(["cache", "ls"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and total.startswith(f"7 in {stocked}, ")
    assert lines[0].startswith(f"data    {DATA[:12]} ") and lines[0].endswith("30 test rows; named by 2026-a")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"rows": 3}', b'{"tracks": [3, {"name": 1}]}'])
@pytest.mark.parametrize(
    "name",
    DAMAGED,
)
def test_entry_whose_files_are_damaged_is_listed_all_the_same(
    stocked: Path, name: str, text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    [file] = stocked.glob(name)
    file.write_bytes(text)
    assert len(listed(capsys)) == 7
    assert main(["cache", "rm", "--all", "--yes"]) == 0
    assert inventory(stocked, stocked.parent / "runs") == []


def test_what_was_left_half_made_is_unfinished(stocked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stocked / "data" / f"{DATA}.part").mkdir()
    (stocked / "trials" / f"{DATA}.2026-b").mkdir()
    (stocked / "teachers" / ("f0" * 16)).mkdir()
    assert [each["about"].split(",")[0] for each in listed(capsys)].count("unfinished") == 3
    assert main(["cache", "rm", f"{DATA}.part", "--yes"]) == 0
    assert entries.check(stocked / "data" / DATA) == "" and (stocked / "data" / f"{DATA}.json").exists()


def test_what_was_named_is_removed_and_nothing_else(stocked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "rm", "d0", TEACHER, "d0d0", "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in said["removed"]] == [DATA, TEACHER] and said["bytes"] >= 10_000
    assert listed(capsys)[0]["key"] == OTHER
    assert not [*(stocked / "data").glob("*.json")] and (stocked / "data" / f"{DATA}.lock").exists()
    assert main(["cache", "rm", "default-0f", "docstrings", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("freed: ")
    assert [each["kind"] for each in listed(capsys)] == ["teacher", "trial", "pace"]


@pytest.mark.parametrize(("days", "left"), [("3", 6), ("1.5", 5), ("0", 0), ("4", 7)])
def test_what_was_not_used_for_long_is_removed(
    stocked: Path, days: str, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, ago in ((stocked / "data" / DATA, 3.5), (stocked / "teachers" / OTHER, 2)):
        then = path.stat().st_mtime - ago * DAY
        os.utime(path, (then, then))
    assert main(["cache", "rm", "--older", days, "--yes"]) == 0
    assert capsys.readouterr().out.count("removed: ") == 7 - left
    assert len(listed(capsys)) == left


@pytest.mark.parametrize("holds", ["fills", "reads", "prepares"])
def test_nothing_is_removed_where_a_run_uses_some_of_it(
    stocked: Path, holds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library = stocked / "arrow" / "_x_csv_default-0f_0.0.0.lock"
    taken = {"fills": stocked / "data" / f"{DATA}.lock", "reads": stocked / "data" / DATA, "prepares": library}
    descriptor = os.open(taken[holds], os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    for words in (["--all"], ["--older", "0"], [TEACHER, "default-0f" if holds == "prepares" else DATA]):
        assert main(["cache", "rm", *words, "--yes"]) == 2
        assert "is in use by a run, so nothing was removed" in capsys.readouterr().err
    assert len(listed(capsys)) == 7
    os.close(descriptor)
    assert main(["cache", "rm", "--all", "--yes"]) == 0


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 6), (b"\n", 2, 7), (b"\x04", 2, 7)])
def test_person_at_the_terminal_is_asked_before_anything_is_removed(
    stocked: Path, answer: bytes, code: int, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    person, terminal = pty.openpty()
    pipes = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "agent", "cache", "rm", DATA], cwd=ROOT, **pipes) as process:
        os.write(person, answer)
        out, err = process.communicate(timeout=60)
    os.close(terminal), os.close(person)
    assert DATA[:12].encode() in err and b"[y/N]" in out
    assert process.returncode == code and len(listed(capsys)) == left


def test_runs_in_a_folder_that_is_not_there_name_nothing(stocked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "ls", "--json", "--runs-dir", "/nowhere"]) == 0
    assert all(each["runs"] == [] for each in json.loads(capsys.readouterr().out)["entries"])
