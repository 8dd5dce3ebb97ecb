"""Runs on disk, with real files, real locks and real full disks."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent import runs
from agent.errors import DataError, Interrupted, UsageError
from agent.paths import RunPaths


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        record = {"schema": 1, "id": name, "status": "planned", "created": "", "options": {}}
        (folder / name / "run.json").write_text(json.dumps(record))


def test_new_run_holds_its_idea_its_options_and_nothing_half_written(tmp_path: Path) -> None:
    paths = runs.create(tmp_path / "a" / "b", "Héllo & co: distil!", {"idea": "x", "values": {"alpha": 0.5}})
    assert paths.id.split("-", 2)[2].startswith("h-llo-co-distil-")
    assert paths.idea.read_text() == "Héllo & co: distil!\n"
    record = runs.read(paths)
    assert (record["schema"], record["id"], record["status"]) == (1, paths.id, "planned")
    assert record["options"] == {"idea": "x", "values": {"alpha": 0.5}}
    assert sorted(path.name for path in paths.folder.iterdir()) == ["idea.md", "jobs", "logs", "run.json", "scratch"]


def test_run_that_cannot_be_written_whole_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        runs.create(tmp_path, "half \ud800", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["20260101-000000-kd-aaaa", "20260101", "@last"])
def test_run_is_found_by_id_beginning_and_last(tmp_path: Path, name: str) -> None:
    made(tmp_path, "20260101-000000-kd-aaaa")
    assert runs.find(tmp_path, name).id == "20260101-000000-kd-aaaa"


def test_exact_id_wins_over_longer_ones(tmp_path: Path) -> None:
    made(tmp_path, "2026-kd", "2026-kd-again")
    assert runs.find(tmp_path, "2026-kd").id == "2026-kd"
    assert runs.find(tmp_path, "@last").id == "2026-kd-again"


def test_ambiguous_beginning_names_the_runs(tmp_path: Path) -> None:
    made(tmp_path, "2026-a", "2026-b")
    with pytest.raises(UsageError, match=r"run '2026' is ambiguous: 2 runs start so \(2026-b, 2026-a\)"):
        runs.find(tmp_path, "2026")


@pytest.mark.parametrize("name", ["2025", "", "../2026-a", "@last"])
def test_unknown_run_is_named_with_its_folder(tmp_path: Path, name: str) -> None:
    made(tmp_path / "other", "2026-a")
    (tmp_path / "runs" / "no-run").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no run '.*' in .*runs"):
        runs.find(tmp_path / "runs", name)


@pytest.mark.parametrize("text", ["", "{", "[]", '"run"', "{}", '{"schema": 2, "id": "", "status": "", "options": {}}'])
def test_run_json_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json is no record of a run"):
        runs.read(RunPaths(tmp_path))


def test_run_can_be_held_by_one_process_only(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); input()"
    paths, pipes = RunPaths(tmp_path), {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(paths.lock)], **pipes) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="is in use by another kdagent process"), runs.locked(paths):
            pass
        holder.kill()
    with runs.locked(paths):  # a process that died holds nothing
        pass


def test_folder_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"runs cannot be written: .*file is no folder") as error:
        runs.check_folder(tmp_path / "file" / "deep" / "runs", "--runs-dir")
    assert error.value.hint == "choose another with --runs-dir"
    runs.check_folder(tmp_path / "new" / "runs", "--runs-dir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_full_disk_is_an_error_of_ours() -> None:
    with pytest.raises(DataError, match="disk full"), runs.refusals(), open("/dev/full", "w") as stream:
        stream.write("x")
        stream.flush()


def test_full_database_is_an_error_of_ours() -> None:
    with pytest.raises(DataError, match=r"disk full: state\.sqlite"), runs.refusals():
        database = sqlite3.connect(":memory:")
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE a AS SELECT randomblob(100000)")


def test_forbidden_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/cache: Not a directory"), runs.refusals():
        (tmp_path / "file" / "cache").mkdir()


def test_ctrl_c_is_an_interruption_and_a_bug_stays_a_bug() -> None:
    with pytest.raises(Interrupted), runs.refusals():
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), runs.refusals():
        Path("/nowhere/at/all").read_text()
    with pytest.raises(sqlite3.OperationalError), runs.refusals():
        sqlite3.connect(":memory:").execute("SELECT * FROM nowhere")
    with pytest.raises(BrokenPipeError), runs.refusals():
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
