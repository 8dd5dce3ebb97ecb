"""The user's own data in a replay: known by content under any name, and asked for where they are missing."""

import shlex
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import NoReplay, UsageError
from agent.plan.options import Options
from agent.recheck import replay as replays
from agent.recheck import similarity
from agent.recheck.data import with_data
from agent.record import runs
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.results import review
from tests.agent.command import Kdagent
from tests.agent.forged import OPTIONS
from tests.agent.records import Records

SOURCE = "folder: 1 csv 0123456789abcdef"


def recorded(folder: Path, own: str = "", name: str = "feelings", **options: str) -> RunPaths:
    """A run on data from the user's disk: their own, or a known task's."""
    made = runs.create(folder / "runs", "kd", OPTIONS | {"data": own} | options)
    plan = Records(folder / "records").plan
    [track] = plan.tracks
    track = track.model_copy(update={"name": name, "task": track.task.model_copy(update={"source": SOURCE})})
    write_whole(made.plan, plan.model_copy(update={"tracks": (track,)}).model_dump_json(by_alias=True))
    return made


def test_track_keeps_its_name_where_the_file_has_another(tmp_path: Path) -> None:
    made = recorded(tmp_path, "/then/Feelings.csv")
    (tmp_path / "moved.csv").touch()
    found = with_data(made, Options("kd", data=str(tmp_path / "moved.csv"), replay="full"))
    assert (found.own_name, found.own_kind) == ("feelings", "image")


@pytest.mark.parametrize("given", [{}, {"data": "/then/feelings.csv"}])
@pytest.mark.parametrize("imported", [True, False])
def test_missing_file_is_named_with_the_command_that_helps(
    tmp_path: Path, given: dict[str, str], imported: bool
) -> None:
    made = recorded(tmp_path, "/then/feelings.csv")
    if imported:
        runs.update(made, imported={"time": "", "archive": ""})
    with pytest.raises(NoReplay, match=f"the data of feelings are missing: the run learnt from {SOURCE}; ") as error:
        with_data(made, Options("kd", replay="live", **given))
    assert given.get("data", "where they are is not known") in error.value.message
    consent = " --yes" * imported
    assert f"kdagent replay {made.id} --level live --data PATH{consent} --runs-dir" in error.value.hint


def test_missing_folder_of_a_known_task_is_named_too(tmp_path: Path) -> None:
    made = recorded(tmp_path, data_dir="/then")
    with pytest.raises(NoReplay, match="learnt from folder") as error:
        with_data(made, Options("kd", replay="full"))
    assert "--data-dir PATH" in error.value.hint


def test_what_trains_nothing_needs_no_data(tmp_path: Path) -> None:
    found = with_data(recorded(tmp_path, "/then/feelings.csv"), Options("kd", replay="agent"))
    assert (found.data, found.own, found.own_name) == ("", True, "feelings")


def test_data_named_for_a_run_that_has_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no data of its own"):
        with_data(recorded(tmp_path), Options("kd", data=str(tmp_path), replay="full"))


def test_name_that_leads_out_of_the_run_is_not_taken_from_a_record(tmp_path: Path) -> None:
    with pytest.raises(NoReplay, match="plain name"):
        with_data(recorded(tmp_path, "/then/x.csv", name="../../x"), Options("kd", data=str(tmp_path), replay="full"))


# ── with real data ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def feelings(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunPaths:
    """A run on a file of the user's, as far as its plan, with results that nobody reads."""
    folder = tmp_path_factory.mktemp("feelings")
    rows = [f"a sentence number {n},{('no', 'yes')[n % 2]}" for n in range(400)]
    (folder / "Meine Gefühle.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    small = ("--set", "student.architecture=bilstm", "--set", "student.layers=1", "--method", "kd")
    asked = ("run", "soft labels", "--data", str(folder / "Meine Gefühle.csv"), "--isolation", "process")
    said = Kdagent(folder / "runs", cache)(*asked, *small, "--set", "meine_gefühle.epochs=1", "--plan-only")
    assert said.code == 0, said.err
    [made] = runs.every(folder / "runs")
    made.results.write_text("{}")
    return made


class Approved(Exception):
    """A replay has the recorded plan, and would train now."""


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Replays get as far as their approval."""

    def stop(*_: str) -> None:
        raise Approved

    monkeypatch.setenv("KDAGENT_CACHE", str(cache))
    monkeypatch.setattr(review, "add", stop)


def replay(paths: RunPaths, *words: str) -> int:
    return main(["replay", paths.id, "--runs-dir", str(paths.folder.parent), "--isolation", "process", *words])


@pytest.mark.slow
def test_same_file_under_another_name_makes_the_same_plan(feelings: RunPaths, untrained: None, tmp_path: Path) -> None:
    [source] = feelings.folder.parents[1].glob("*.csv")
    (tmp_path / "other.csv").write_bytes(source.read_bytes())
    with pytest.raises(Approved):
        replay(feelings, "--data", str(tmp_path / "other.csv"))
    made = next(runs.every(feelings.folder.parent))
    assert made != feelings and made.plan.read_bytes() == feelings.plan.read_bytes()


@pytest.mark.slow
def test_other_content_is_missing_data_not_drift(
    feelings: RunPaths,
    untrained: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(similarity, "drifted", lambda *said: said[-1])
    monkeypatch.setattr(replays, "keep", lambda paths, verdict: kept.append(verdict))
    [source] = feelings.folder.parents[1].glob("*.csv")
    (tmp_path / "Meine Gefühle.csv").write_text(source.read_text().replace("number 7,", "number seven,"))
    assert replay(feelings, "--data", str(tmp_path / "Meine Gefühle.csv")) == 7
    said = capsys.readouterr().err
    assert "the data of meine_gefühle are missing: the run learnt from folder: 1 csv" in said
    assert "; found folder: 1 csv " in said and kept == ["failed"]


@pytest.mark.slow
def test_file_that_was_moved_is_asked_for_before_a_run_is_made(
    feelings: RunPaths, untrained: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [source] = feelings.folder.parents[1].glob("*.csv")
    before = list(runs.every(feelings.folder.parent))
    moved = source.rename(tmp_path / "moved.csv")
    try:
        assert replay(feelings) == 7
        hint = capsys.readouterr().err.split("now: ")[1]
        assert list(runs.every(feelings.folder.parent)) == before
        words = [str(moved) if word == "PATH" else word for word in shlex.split(hint)[1:]]
        with pytest.raises(Approved):
            main([*words, "--isolation", "process"])
    finally:
        moved.rename(source)
