"""Archives: what export writes, and what import takes from nobody."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import DataError, UsageError
from agent.plan.defaults import tracks
from agent.plan.options import Options
from agent.recheck import archive
from agent.record import runs
from agent.record.events import EventLog
from agent.record.files import file_hash
from agent.record.paths import RunPaths
from agent.record.prepared import Facts
from sandbox.workspace import Workspace
from tests.agent.command import ROOT
from tests.agent.forged import OPTIONS, RUN, Entry, announced, bundle, honest, manifest, objects, packed, record
from tests.agent.forged import archive as forged
from tests.agent.gates import Gates
from tests.agent.prepared import prepared

SOURCES = {"start": "x = 1\n", "attempt-1": "x = 2\n# ünïcode\n"}


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run as the first steps leave one."""
    made = runs.create(tmp_path / "runs", "kd", OPTIONS)
    workspace, parent = Workspace.create(made.repository), None
    for branch, source in SOURCES.items():
        parent = workspace.commit(branch, source, branch, parent).id
    EventLog(made.events).append("attempt", commit=parent)
    for name in ("scratch/left.py", "trials/kd/digits/0/weights.safetensors", "trials/kd/digits/0/trial.json"):
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / name).write_text("{}\n")
    for name in ("lock", "clock.json", "state.sqlite", "plan.json.part"):
        (made.folder / name).write_text("x")
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_archive_holds_the_record_and_nothing_else(paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    with tarfile.open(tmp_path / "run.tar.gz") as tar:
        entries = tar.getmembers()
    names = [entry.name.removeprefix(f"{paths.id}/") for entry in entries]
    expected = ["events.jsonl", "idea.md", "repository.bundle", "run.json", "trials/kd/digits/0/trial.json"]
    assert names == ["manifest.json", *expected]
    assert {(e.type, e.mode, e.mtime, e.uid, e.gid, e.uname) for e in entries} == {(b"0", 0o644, 0, 0, 0, "")}


@pytest.mark.parametrize("name", ["gefühle", "чувства", "感情", "x" * 40, "ж" * 30])
def test_track_is_called_as_the_user_s_file_is_in_any_language(
    name: str, paths: RunPaths, tmp_path: Path, elsewhere: Path
) -> None:
    [track] = tracks(Options("kd", data=f"/home/me/{name.upper()}.csv"))
    assert track == name
    trial = paths.trial("attempt-10", track, 99) / "test.safetensors"
    trial.parent.mkdir(parents=True)
    trial.write_bytes(b"x")
    archive.export(paths, tmp_path / "run.tar.gz")
    found = archive.unpack(tmp_path / "run.tar.gz", elsewhere)
    assert (found.trial("attempt-10", track, 99) / "test.safetensors").read_bytes() == b"x"
    archive.export(found, tmp_path / "again.tar.gz")
    with tarfile.open(tmp_path / "again.tar.gz") as tar:
        assert f"{paths.id}/trials/attempt-10/{track}/99/test.safetensors" in tar.getnames()


def test_long_name_of_a_file_is_cut_so_that_its_run_can_be_exported() -> None:
    [track] = tracks(Options("kd", data="感情" * 50 + ".csv"))
    assert track == "感情" * 10


def test_weights_come_on_request(paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz", weights=True)
    with tarfile.open(tmp_path / "run.tar.gz") as tar:
        assert f"{paths.id}/trials/kd/digits/0/weights.safetensors" in tar.getnames()


def test_same_record_gives_the_same_bytes(paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "a.tar.gz")
    again = RunPaths(tmp_path / "copy" / paths.id)
    shutil.copytree(paths.folder, again.folder)  # other inodes, another order in the folder
    for path in again.folder.rglob("*"):
        os.utime(path, (1, 1))
    again.idea.chmod(0o600)
    archive.export(again, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_bundle_can_be_cloned(paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    with tarfile.open(tmp_path / "run.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    source = tmp_path / paths.id / "repository.bundle"
    subprocess.run(["git", "clone", "--quiet", "-b", "attempt-1", source, tmp_path / "clone"], check=True)
    assert (tmp_path / "clone" / "train.py").read_text() == SOURCES["attempt-1"]


def test_packed_repository_is_exported_as_whole_objects(paths: RunPaths, tmp_path: Path, elsewhere: Path) -> None:
    workspace = Workspace.open(paths.repository)
    long = "".join(f"x{n} = {n}\n" for n in range(500))
    commit = workspace.commit("long", long, "long")
    workspace.commit("longer", long + "y = 1\n", "longer", commit.id)
    subprocess.run(["git", "-C", paths.repository, "gc", "--quiet", "--aggressive"], check=True)
    archive.export(paths, tmp_path / "run.tar.gz")
    found = archive.unpack(tmp_path / "run.tar.gz", elsewhere)
    assert Workspace.open(found.repository).read(commit.id) == long


def test_link_in_a_run_is_not_exported(paths: RunPaths, tmp_path: Path) -> None:
    (paths.logs / "a.log").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"a\.log is not a plain file"):
        archive.export(paths, tmp_path / "run.tar.gz")
    assert not list(tmp_path.glob("*.gz")) and not list(tmp_path.glob(".export-*"))


def test_existing_file_is_not_overwritten(paths: RunPaths, tmp_path: Path) -> None:
    (tmp_path / "run.tar.gz").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        archive.export(paths, tmp_path / "run.tar.gz")
    assert (tmp_path / "run.tar.gz").read_text() == "mine"
    with pytest.raises(UsageError, match="its folder does not exist"):
        archive.export(paths, tmp_path / "gone" / "run.tar.gz")


def test_run_in_use_is_not_exported(paths: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with runs.locked(paths):
        assert main(["export", paths.id, str(tmp_path / "a.tar.gz"), "--runs-dir", str(paths.folder.parent)]) == 2
    assert "is in use by another kdagent process" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "problem"), [(10, ""), (archive.MOST_DATA + 1, "64 MB are the most")])
def test_data_come_on_request_where_they_are_small(paths: RunPaths, tmp_path: Path, size: int, problem: str) -> None:
    (tmp_path / "prepared" / "seen").mkdir(parents=True)
    (tmp_path / "prepared" / "seen" / "train.safetensors").write_bytes(os.urandom(size))
    paths.facts.write_text(Facts({"digits": prepared(folder=str(tmp_path / "prepared"))}, ()).text())
    if problem:
        with pytest.raises(UsageError, match=problem):
            archive.export(paths, tmp_path / "run.tar.gz", data=True)
        return
    archive.export(paths, tmp_path / "run.tar.gz", data=True)
    with tarfile.open(tmp_path / "run.tar.gz") as tar:
        assert f"{paths.id}/data/digits/seen/train.safetensors" in tar.getnames()


# ── import ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_imported_run_is_the_exported_one(paths: RunPaths, tmp_path: Path, elsewhere: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz", weights=True)
    found = archive.unpack(tmp_path / "run.tar.gz", elsewhere)
    ours, theirs = content(paths.folder), content(found.folder)
    left = {"lock", "clock.json", "state.sqlite", "plan.json.part", "scratch/left.py", "run.json"}
    repository = {name for name in (*ours, *theirs) if name.startswith("repository/")}
    assert {n: d for n, d in theirs.items() if n not in {*repository, "run.json", "lock"}} == {
        n: d for n, d in ours.items() if n not in {*repository, *left}
    }
    before, after = (Workspace.open(each.repository) for each in (paths, found))
    commit = EventLog(found.events).read()[0]["data"]["commit"]
    assert after.read(commit) == before.read(commit) == SOURCES["attempt-1"]
    imported = runs.read(found)["imported"]
    assert runs.read(found) == runs.read(paths) | {"imported": imported}
    assert imported["archive"] == file_hash(tmp_path / "run.tar.gz")
    assert not list(elsewhere.glob(".import-*"))


def test_archive_of_an_imported_run_differs_in_run_json_alone(paths: RunPaths, tmp_path: Path, elsewhere: Path) -> None:
    archive.export(paths, tmp_path / "a.tar.gz")
    found = archive.unpack(tmp_path / "a.tar.gz", elsewhere)
    archive.export(found, tmp_path / "b.tar.gz")
    said = []
    for name in ("a.tar.gz", "b.tar.gz"):
        with tarfile.open(tmp_path / name) as tar:
            [first] = [member for member in tar.getmembers() if member.name.endswith("/manifest.json")]
            file = tar.extractfile(first)
            assert file is not None
            said.append(json.load(file)["files"])
    assert {name for name in said[0] if said[0][name] != said[1][name]} == {"run.json"}


def test_run_that_is_there_already_is_left_as_it_is(paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    before = content(paths.folder)
    with pytest.raises(UsageError, match=f"has a run {paths.id} already"):
        archive.unpack(tmp_path / "run.tar.gz", paths.folder.parent)
    assert content(paths.folder) == before and len(list(paths.folder.parent.iterdir())) == 1


def test_two_imports_at_once_make_one_run(paths: RunPaths, tmp_path: Path, elsewhere: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    words = [sys.executable, "-m", "agent", "import", str(tmp_path / "run.tar.gz"), "--runs-dir", str(elsewhere)]
    both = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert [path.name for path in elsewhere.iterdir()] == [paths.id]


def test_imported_run_is_neither_resumed_nor_amended(
    paths: RunPaths, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    archive.unpack(tmp_path / "run.tar.gz", elsewhere)
    for words in (["resume", "@last", "--yes"], ["review", "@last", "--edit", "epochs=2"]):
        assert main([*words, "--runs-dir", str(elsewhere)]) == 2
        assert "was imported: it cannot be" in capsys.readouterr().err


@pytest.mark.slow
def test_finished_run_opens_where_it_was_imported(
    gates: Gates, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.export(gates.paths, tmp_path / "run.tar.gz", data=True)
    found, folder = archive.unpack(tmp_path / "run.tar.gz", elsewhere), ["--runs-dir", str(elsewhere)]
    assert main(["runs", *folder]) == 0 and "(imported)" in capsys.readouterr().out
    assert main(["show", "@last", *folder]) == 0 and "imported 20" in capsys.readouterr().out
    found.report.unlink()
    assert main(["report", "@last", *folder]) == 0
    assert found.report.read_bytes() == gates.paths.report.read_bytes()


# ── hostile archives ────────────────────────────────────────────────────────────────────────────────────────────────

OK = Entry(f"{RUN}/run.json", record())
Bite = Callable[[Path], bool]


def outside(folder: Path) -> bool:
    """Whether something was written beside the folder that was extracted into."""
    return (folder.parent / "outside.json").exists()


HOSTILE: dict[str, tuple[bytes, str, Bite | None]] = {
    "parent": (announced(Entry("../outside.json", b"x")), "where 'run.json'", outside),
    "parent announced": (honest({"run.json": record(), "../outside.json": b"x"}), "not a plain relative path", None),
    "parent inside": (
        honest({"run.json": record(), "logs/../../../outside.json": b"x"}),
        "not a plain relative path",
        None,
    ),
    "absolute": (honest({"run.json": record(), "/etc/outside.json": b"x"}), "not a plain relative path", None),
    "hidden": (honest({"run.json": record(), ".bashrc.txt": b"x"}), "not a plain relative path", None),
    "backslash": (honest({"run.json": record(), "..\\outside.json": b"x"}), "not a plain relative path", None),
    "control character": (honest({"run.json": record(), "a\x1b[31m.json": b"x"}), "not a plain relative path", None),
    "direction of writing": (
        honest({"run.json": record(), "a\u202ejson.json": b"x"}),
        "not a plain relative path",
        None,
    ),
    "bytes that are not UTF-8": (honest({"run.json": record(), "a\udcff.json": b"x"}), "Invalid JSON", None),
    "letters that look alike": (
        honest({"run.json": record(), "gef\u00fchle.json": b"x", "GEF\u00dcHLE.json": b"y"}),
        "HLE.json' twice",
        None,
    ),
    "hook in wide letters": (
        honest({"run.json": record(), "\uff52epository/hooks/x.py": b"x"}),
        "not part of a record",
        None,
    ),
    "link": (
        announced(Entry(f"{RUN}/logs", kind=tarfile.SYMTYPE, link="../.."), Entry(f"{RUN}/logs/outside.json", b"x")),
        r"a link to '\.\./\.\.'",
        outside,
    ),
    "link as run.json": (
        announced(Entry(f"{RUN}/run.json", kind=tarfile.SYMTYPE, link="/etc/passwd")),
        "a link to '/etc/passwd'",
        lambda folder: (folder / RUN / "run.json").is_symlink(),
    ),
    "second name": (
        announced(OK, Entry(f"{RUN}/b.json", kind=tarfile.LNKTYPE, link=f"{RUN}/run.json")),
        "continues after its last file",
        lambda folder: (folder / RUN / "b.json").stat().st_nlink == 2,
    ),
    "pipe": (
        announced(Entry(f"{RUN}/run.json", kind=tarfile.FIFOTYPE)),
        "a device",
        lambda folder: stat.S_ISFIFO((folder / RUN / "run.json").stat().st_mode),
    ),
    "device": (announced(Entry(f"{RUN}/run.json", kind=tarfile.CHRTYPE)), "a device", None),
    "folder": (announced(Entry(f"{RUN}/run.json", kind=tarfile.DIRTYPE)), "a folder", None),
    "program": (
        announced(Entry(f"{RUN}/run.json", record(), mode=0o4755)),
        "where 'run.json'",
        lambda folder: bool((folder / RUN / "run.json").stat().st_mode & 0o4111),
    ),
    "twice": (
        announced(OK, Entry(f"{RUN}/run.json", b"other")),
        "continues after its last file",
        lambda folder: (folder / RUN / "run.json").read_bytes() == b"other",
    ),
    "other name in an extended header": (
        announced(Entry(f"{RUN}/run.json", record(), pax={"path": "../outside.json"})),
        "where 'run.json'",
        outside,
    ),
    "unannounced": (
        announced(OK, Entry(f"{RUN}/b.py", b"x")),
        "continues after its last file",
        lambda folder: (folder / RUN / "b.py").exists(),
    ),
    "other case": (honest({"run.json": record(), "a.json": b"x", "A.json": b"y"}), "'A.json' twice", None),
    "file and folder": (
        honest({"run.json": record(), "a.py": b"x", "a.py/b.py": b"y"}),
        "a file and as a folder",
        None,
    ),
    "pickle": (honest({"run.json": record(), "trials/weights.pt": b"\x80\x04."}), "not part of a record", None),
    "checkpoints": (honest({"run.json": record(), "state.sqlite": b"x"}), "not part of a record", None),
    "hook": (honest({"run.json": record(), "repository/hooks/x.py": b"x"}), "not part of a record", None),
    "scratch": (honest({"run.json": record(), "scratch/x.py": b"x"}), "not part of a record", None),
    "no manifest": (forged(OK), "not with its manifest", None),
    "another run's manifest": (
        forged(manifest({"run.json": record()}, run="other"), OK),
        "its manifest names other",
        None,
    ),
    "run with a path": (forged(manifest({"run.json": record()}, run="../x"), OK), "manifest: run", None),
    "unknown schema": (forged(manifest({"run.json": record()}, schema=2), OK), "manifest: schema", None),
    "altered": (announced(Entry(f"{RUN}/run.json", record().replace(b"kd", b"dk"))), "its hash differs", None),
    "hidden bytes": (forged(manifest({"run.json": record()}), OK, end=b"x" * 1024), "continues after", None),
    "bomb": (
        announced(OK, Entry(f"{RUN}/b.txt", bytes(32 << 20))),
        "continues after its last file",
        lambda folder: (folder / RUN / "b.txt").stat().st_size == 32 << 20,
    ),
    "huge": (
        forged(manifest({}, files={"run.json": {"size": 1 << 50, "sha256": "0" * 64}})),
        "68,719,476,736 are the most",
        None,
    ),
    "huge run.json": (
        forged(manifest({}, files={"run.json": {"size": 2 << 20, "sha256": "0" * 64}})),
        "its run.json has more",
        None,
    ),
    "negative": (
        forged(manifest({}, files={"run.json": {"size": -1, "sha256": "0" * 64}})),
        "greater than or equal to 0",
        None,
    ),
    "no run": (honest({"idea.md": b"x"}), "is not a valid run record", None),
    "another run": (honest({"run.json": record(id="x")}), "not that of this run", None),
    "unknown status": (honest({"run.json": record(status="x")}), "not that of this run", None),
    "terminal sequence": (
        honest({"run.json": record(options={"idea": "\x1b]0;x\x07", "tasks": []})}),
        "contains '\\\\x1b'",
        None,
    ),
    "unknown option": (
        honest({"run.json": record(options={"idea": "x", "tasks": [], "y": 1})}),
        "cannot be used",
        None,
    ),
    "nested": (honest({"run.json": b"[" * 200_000}), "is not a valid run record", None),
    "nested events": (honest({"run.json": record(), "events.jsonl": b"[" * 200_000 + b"\n"}), "recursion", None),
    "no results": (honest({"run.json": record(), "results.json": b"{}"}), r"results\.json cannot be read", None),
    "no bundle": (
        honest({"run.json": record(), "repository.bundle": b"x"}),
        "not begin like a complete git bundle",
        None,
    ),
    "foreign branch": (
        honest({"run.json": record(), "repository.bundle": bundle(ref="refs/heads/../../config")}),
        "not begin",
        None,
    ),
    "difference": (
        honest({"run.json": record(), "repository.bundle": bundle(raw=packed(6, b"x"))}),
        "an object of kind 6",
        None,
    ),
    "object bomb": (
        honest({"run.json": record(), "repository.bundle": bundle(raw=packed(3, bytes(32 << 20), 100))}),
        "not as long as its header states",
        None,
    ),
    "large object": (
        honest({"run.json": record(), "repository.bundle": bundle(raw=packed(3, b"", 5 << 20))}),
        "5,242,880 bytes",
        None,
    ),
    "many large objects": (
        honest({"run.json": record(), "repository.bundle": bundle([(3, bytes(4 << 20))] * 65)}),
        "more than 268,435,456 bytes",
        None,
    ),
    "object beyond the end": (
        honest({"run.json": record(), "repository.bundle": bundle(count=4)}),
        "not a complete archive",
        None,
    ),
    "many objects": (
        honest({"run.json": record(), "repository.bundle": bundle(count=1 << 31)}),
        "2,147,483,648 objects",
        None,
    ),
    "missing object": (honest({"run.json": record(), "repository.bundle": bundle(objects()[1:])}), "repository", None),
    "second file": (
        honest({"run.json": record(), "repository.bundle": bundle(objects(name=".gitattributes"))}),
        "train.py alone",
        None,
    ),
    "link in a commit": (
        honest({"run.json": record(), "repository.bundle": bundle(objects(b"/etc/passwd", mode="120000"))}),
        "train.py alone",
        None,
    ),
    "damaged pack": (honest({"run.json": record(), "repository.bundle": bundle()[:-1] + b"x"}), "is damaged", None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    data, problem, _ = HOSTILE[name]
    (tmp_path / "x.tar.gz").write_bytes(data)
    folder = tmp_path / "a" / "runs"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=problem) as error:
        archive.unpack(tmp_path / "x.tar.gz", folder)
    assert str(tmp_path / "x.tar.gz") in error.value.message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "runs", "x.tar.gz"]


@pytest.mark.parametrize("name", [name for name, (_, _, bite) in HOSTILE.items() if bite])
def test_hostile_archive_bites_whoever_just_extracts_it(name: str, tmp_path: Path) -> None:
    data, _, bite = HOSTILE[name]
    (tmp_path / "x.tar.gz").write_bytes(data)
    folder = tmp_path / "in"
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        tar.extractall(folder, filter="fully_trusted")
    assert bite is not None and bite(folder)


def test_honest_forgery_is_taken(elsewhere: Path, tmp_path: Path) -> None:
    """The hostile ones differ from this one."""
    (tmp_path / "x.tar.gz").write_bytes(honest({"run.json": record(), "repository.bundle": bundle(), "a.py": b"x"}))
    found = archive.unpack(tmp_path / "x.tar.gz", elsewhere)
    assert sorted(path.name for path in found.folder.iterdir()) == ["a.py", "lock", "repository", "run.json"]
    assert not (found.repository / "hooks").exists()
    assert (found.folder / "a.py").stat().st_mode & 0o777 == 0o644


def test_run_whose_facts_no_command_can_read_is_refused(elsewhere: Path, tmp_path: Path) -> None:
    files = {"run.json": record(), "repository.bundle": bundle(), "facts.json": b"{}"}
    (tmp_path / "x.tar.gz").write_bytes(honest(files))
    with pytest.raises(DataError, match=r"facts\.json cannot be read"):
        archive.unpack(tmp_path / "x.tar.gz", elsewhere)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("end", [0, 1, 10, 100, 1000, -1, -8, -20])
def test_archive_that_was_cut_off_is_refused(paths: RunPaths, tmp_path: Path, elsewhere: Path, end: int) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    (tmp_path / "cut").write_bytes((tmp_path / "run.tar.gz").read_bytes()[:end])
    with pytest.raises(DataError, match="is not a complete archive"):
        archive.unpack(tmp_path / "cut", elsewhere)
    assert list(elsewhere.iterdir()) == []


def test_archive_with_too_many_files_is_refused_before_any_is_written(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(forged(manifest({f"{n}.py": b"" for n in range(archive.MOST_FILES + 1)})))
    with pytest.raises(DataError, match="100,001 files"):
        archive.unpack(tmp_path / "x.tar.gz", elsewhere)


def test_no_file_is_named_as_such(elsewhere: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "gone", tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="is not a file"):
            archive.unpack(path, elsewhere)
