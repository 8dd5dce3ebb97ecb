"""Runs on disk, with real files, real locks and real full disks."""

import errno
import fcntl
import hashlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.cache import unused
from agent.cli import main
from agent.errors import DataError, Interrupted, UsageError
from agent.record import runs
from agent.record.paths import RunPaths
from tests.agent.command import ROOT


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
    with pytest.raises(UsageError, match=r"run '2026' is ambiguous: 2 runs begin with it \(2026-b, 2026-a\)"):
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
    with pytest.raises(UsageError, match=r"run\.json is not a valid run record"):
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
    with pytest.raises(UsageError, match=r"runs cannot be written: .*file is not a folder") as error:
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


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "id"), [("@last", "2026-c"), ("@last~1", "2026-b"), ("@last~2", "2026-a")])
def test_runs_before_the_last_are_counted_back(tmp_path: Path, name: str, id: str) -> None:
    made(tmp_path, "2026-a", "2026-b", "2026-c")
    assert runs.find(tmp_path, name).id == id


@pytest.mark.parametrize("name", ["@last~3", "@last~", "@last~-1", "@last~1x", "@first"])
def test_no_run_is_that_far_back(tmp_path: Path, name: str) -> None:
    made(tmp_path, "2026-a", "2026-b", "2026-c")
    with pytest.raises(UsageError, match=f"no run '{name}'"):
        runs.find(tmp_path, name)


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["runs", "--runs-dir", str(folder), "--json", *words]) == 0
    return [record["id"] for record in json.loads(capsys.readouterr().out)["runs"]]


def test_foreign_folders_among_the_runs_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "2026-a", ".removed-2026-b", ".import-x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / "folder" / "run.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "run.json")
    (tmp_path / "loop").symlink_to("loop")
    assert listed(tmp_path, capsys) == ["2026-a"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b"[]",
        b'{"schema": 1, "id": 1, "status": "", "created": "", "options": {}}',
    ],
)
def test_run_that_cannot_be_read_is_listed_as_that(
    tmp_path: Path, text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "2026-a", "2026-b")
    (tmp_path / "2026-b" / "run.json").write_bytes(text)
    assert listed(tmp_path, capsys) == ["2026-b", "2026-a"]
    assert listed(tmp_path, capsys, "--status", "unreadable") == ["2026-b"]


FILTERED = {
    "2026-a": {
        "status": "succeeded",
        "verdict": "better",
        "tracks": ["digits"],
        "created": "2026-01-01T00:00:00+00:00",
    },
    "2026-b": {"status": "failed", "tags": ["x", "y"], "created": "2026-02-01T12:00:00+00:00"},
    "2026-c": {
        "options": {"idea": "kd", "tasks": ["ag_news"]},
        "tags": ["x"],
        "created": datetime.now(UTC).isoformat(),
    },
}


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], "cba"),
        (["--status", "failed"], "b"),
        (["--verdict", "better"], "a"),
        (["--task", "digits"], "a"),
        (["--task", "ag_news"], "c"),
        (["--tag", "x"], "cb"),
        (["--tag", "x", "--tag", "y"], "b"),
        (["--since", "2026-02-01"], "cb"),
        (["--since", "2026-02-01T12:00:01"], "c"),
        (["--since", "2026-02-01T13:00:00+01:00"], "cb"),
        (["--since", "2h"], "c"),
        (["--since", "999999999d"], "cba"),
        (["--status", "failed", "--tag", "z"], ""),
    ],
)
def test_filters_choose(tmp_path: Path, words: list[str], ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, *FILTERED)
    for name, values in FILTERED.items():
        runs.update(RunPaths(tmp_path / name), **values)
    assert listed(tmp_path, capsys, *words) == [f"2026-{each}" for each in ids]


@pytest.mark.parametrize(
    "words", [["--since", "yesterday"], ["--status", "done"], ["--verdict", "good"], ["--since", ""]]
)
def test_filter_that_is_none_is_refused(tmp_path: Path, words: list[str]) -> None:
    assert main(["runs", "--runs-dir", str(tmp_path), *words]) == 2


def test_list_cannot_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "2026-a")
    runs.update(RunPaths(tmp_path / "2026-a"), options={"idea": "\x1b]0;owned\x07"})
    assert main(["runs", "--runs-dir", str(tmp_path)]) == 0
    assert "\\x1b]0;owned\\x07" in capsys.readouterr().out


@pytest.mark.long
def test_ten_thousand_runs_are_listed_with_one_file_each(tmp_path: Path) -> None:
    made(tmp_path, *(f"2026-{number:05}" for number in range(10_000)))
    code = """import sys, collections
opened, began = collections.Counter(), []
def note(event, values):
    if event == "open" and began: opened["runs" if str(values[0]).endswith("run.json") else "other"] += 1
sys.addaudithook(note)
from agent.cli import main
began.append(1)
main(sys.argv[1:])
print(opened["runs"], opened["other"], file=sys.stderr)"""
    words = [sys.executable, "-c", code, "runs", "--runs-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    records, other = map(int, done.stderr.split())
    assert len(done.stdout.splitlines()) == records == 10_000
    assert other < 200  # modules


# ── tags, rm, gc ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tags_are_given_and_taken(tmp_path: Path) -> None:
    made(tmp_path, "2026-a")
    folder = ["--runs-dir", str(tmp_path)]
    assert main(["tag", "2026-a", "paper", "x", "paper", *folder]) == 0
    assert main(["tag", "@last", "y", *folder]) == 0
    assert main(["tag", "@last", "x", "--remove", *folder]) == 0
    assert runs.read(RunPaths(tmp_path / "2026-a"))["tags"] == ["paper", "y"]
    assert main(["tag", "@last", "no name", *folder]) == 2


def test_runs_are_removed_only_when_that_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "2026-a", "2026-b", "2026-c")
    folder = ["--runs-dir", str(tmp_path)]
    assert main(["rm", "2026-a", *folder]) == 2
    assert "nothing was deleted" in capsys.readouterr().err
    assert main(["rm", "2026-a", "2026-x", "--yes", *folder]) == 2
    assert len(list(runs.every(tmp_path))) == 3
    assert main(["rm", "2026-a", "@last", "--yes", *folder]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["2026-b"]


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", []), (b"\n", ["2026-a"]), (b"\x04", ["2026-a"])])
def test_person_at_the_terminal_is_asked_before_a_run_is_removed(
    tmp_path: Path, answer: bytes, left: list[str]
) -> None:
    made(tmp_path, "2026-a")
    person, terminal = pty.openpty()
    words = [sys.executable, "-m", "agent", "rm", "2026-a", "--runs-dir", str(tmp_path)]
    pipes = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as process:
        os.write(person, answer)
        out, err = process.communicate(timeout=60)
    os.close(terminal), os.close(person)
    assert b"2026-a  planned" in err and b"[y/N]" in out
    assert [path.name for path in tmp_path.iterdir()] == left and process.returncode == (0 if answer == b"y\n" else 2)


def test_run_in_use_is_neither_removed_nor_tagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "2026-a", "2026-b")
    with runs.locked(RunPaths(tmp_path / "2026-a")):
        for words in (["rm", "@last", "2026-a", "--yes"], ["tag", "2026-a", "x"]):
            assert main([*words, "--runs-dir", str(tmp_path)]) == 2
            assert "2026-a is in use" in capsys.readouterr().err
    assert (tmp_path / "2026-a" / "run.json").exists() and (tmp_path / "2026-b").exists()


def test_link_among_the_runs_is_not_followed_to_remove_what_it_names(tmp_path: Path) -> None:
    made(tmp_path / "other", "2026-a")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "2026-a").symlink_to(tmp_path / "other" / "2026-a")
    assert main(["rm", "2026-a", "--yes", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert (tmp_path / "other" / "2026-a" / "run.json").exists()


KEYS = {name: hashlib.md5(name.encode()).hexdigest() for name in ("data", "teacher", "old data", "old teacher")}


@pytest.fixture
def stocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with leftovers, and a cache of which it needs half."""
    made(tmp_path / "runs", "2026-a")
    paths = RunPaths(tmp_path / "runs" / "2026-a")
    (paths.scratch / "left").mkdir(parents=True)
    (paths.scratch / "left" / "x").write_bytes(bytes(5000))
    (tmp_path / "runs" / ".removed-2026-b").mkdir()
    paths.facts.write_text(json.dumps({"tracks": {"digits": {"folder": f"/cache/data/{KEYS['data']}"}}}))
    (paths.jobs / "trial").mkdir(parents=True)
    (paths.jobs / "trial" / "job-0.json").write_text(json.dumps({"teacher": f"/cache/teachers/{KEYS['teacher']}"}))
    for name, key in KEYS.items():
        folder = tmp_path / "cache" / ("teachers" if "teacher" in name else "data") / key
        folder.mkdir(parents=True)
        folder.with_suffix(".lock").touch()
    monkeypatch.setenv("KDAGENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left(stocked: Path) -> set[str]:
    names = {key: name for name, key in KEYS.items()}
    return {names[path.name] for path in stocked.glob("*/*") if path.is_dir()}


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_gc_says_what_it_would_free_and_frees_nothing(
    stocked: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stocked.parent / "runs"
    assert main(["gc", "--runs-dir", str(folder), "--json", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {Path(item["path"]).name for item in said["items"]} == {
        "left",
        ".removed-2026-b",
        KEYS["old data"],
        KEYS["old teacher"],
    }
    assert max(item["bytes"] for item in said["items"]) >= 5000 and not said["freed"]
    assert left(stocked) == set(KEYS) and (folder / "2026-a" / "scratch" / "left").exists()


def test_gc_frees_what_no_run_needs(stocked: Path) -> None:
    folder = stocked.parent / "runs"
    assert main(["gc", "--runs-dir", str(folder), "--yes"]) == 0
    assert left(stocked) == {"data", "teacher"}
    assert [path.name for path in folder.iterdir()] == ["2026-a"]
    assert list((folder / "2026-a" / "scratch").iterdir()) == []


def test_gc_leaves_what_is_being_filled(stocked: Path) -> None:
    folder, lock = stocked.parent / "runs", (stocked / "data" / KEYS["old data"]).with_suffix(".lock")
    (folder / ".import-x").mkdir()
    with lock.open("w") as stream, runs.locked(RunPaths(folder / ".import-x")):
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert main(["gc", "--runs-dir", str(folder), "--yes"]) == 0
    assert left(stocked) == {"data", "teacher", "old data"}
    assert sorted(path.name for path in folder.iterdir()) == [".import-x", "2026-a"]


def test_gc_leaves_the_scratch_of_a_run_that_has_just_gone_on(stocked: Path) -> None:
    paths = RunPaths(stocked.parent / "runs" / "2026-a")
    paths.lock.touch()
    [item] = [each for each in unused.waste(paths.folder.parent, stocked).items if each.path.parent == paths.scratch]
    with runs.locked(paths):
        assert not unused.free(item)
    assert item.path.exists() and unused.free(item) and not item.path.exists()


def test_gc_in_one_folder_leaves_what_a_run_in_another_names(
    stocked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    unused.register(stocked, stocked.parent / "runs")
    assert main(["gc", "--runs-dir", str(other), "--yes"]) == 0
    assert left(stocked) == {"data", "teacher"}
    (stocked.parent / "runs").rename(tmp_path / "moved")
    [file] = unused.users(stocked).values()
    assert main(["gc", "--runs-dir", str(other), "--yes"]) == 0
    assert (
        left(stocked) == {"data", "teacher"} and f"is missing (gone for good? delete {file})" in capsys.readouterr().out
    )
    file.unlink()
    assert main(["gc", "--runs-dir", str(other), "--yes"]) == 0
    assert left(stocked) == set()


@pytest.mark.parametrize("unknown", ["in use", "unreadable"])
def test_gc_leaves_the_cache_alone_while_it_cannot_know_what_is_needed(
    stocked: Path, unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stocked.parent / "runs"
    made(folder, "2026-b")
    if unknown == "unreadable":
        (folder / "2026-b" / "run.json").write_text("{")
    with runs.locked(RunPaths(folder / "2026-b")) if unknown == "in use" else nullcontext():
        assert main(["gc", "--runs-dir", str(folder), "--yes"]) == 0
    assert left(stocked) == set(KEYS) and "left alone: the cache, for " in capsys.readouterr().out


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder with a run, seen by somebody who may only read it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        made(folder, "2026-a")
        (folder / "2026-a" / "lock").touch()
        for path in (folder, folder / "2026-a"):
            path.chmod(0o555)
        if root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            for path in (folder, folder / "2026-a"):
                path.chmod(0o755)


def test_runs_that_can_only_be_read_are_looked_at_and_not_changed(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(read_only, capsys) == ["2026-a"]
    for words in (["tag", "2026-a", "x"], ["rm", "2026-a", "--yes"]):
        assert main([*words, "--runs-dir", str(read_only)]) == 2
        assert "Permission denied" in capsys.readouterr().err
    assert runs.listed(RunPaths(read_only / "2026-a"))["status"] == "planned"
    with runs.still(RunPaths(read_only / "2026-a")):
        pass
