"""Circumstances that nobody wishes for, and what kdagent does in them.

A full disk is in test_bad_input.py, two processes on one run too; ten thousand runs are in test_runs.py; kills and a
clock that goes back while a run is stopped are in test_kill.py.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli import main
from agent.recheck.verify import verify
from agent.record import runs
from agent.record.paths import RunPaths
from tests.agent.command import TINY, Kdagent, Said
from tests.agent.gates import Gates

pytestmark = pytest.mark.slow


# ── a folder that can only be read ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def read_only(gates: Gates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunPaths]:
    """A finished run on a disk that can only be read."""
    disk = tmp_path_factory.mktemp("disk")
    if os.geteuid() or mount("-t", "tmpfs", "tmpfs", disk):
        pytest.skip("mounting a disk needs root")
    folder = Path(shutil.copytree(gates.paths.folder, disk / "runs" / gates.paths.id))
    assert mount("-o", "remount,ro", disk) == 0
    yield RunPaths(folder)
    subprocess.run(["umount", "--lazy", disk], check=True)


def mount(*words: str | Path) -> int:
    return subprocess.run(["mount", *words], capture_output=True).returncode


@pytest.mark.parametrize(
    "words", ["runs", "show @last", "verify @last", "report @last", "diff @last @last", "export @last"]
)
def test_run_that_can_only_be_read_is_looked_at(
    read_only: RunPaths, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = [str(tmp_path / "run.tar.gz")] if words.startswith("export") else []
    assert main([*words.split(), *target, "--runs-dir", str(read_only.folder.parent)]) == 0
    assert capsys.readouterr().out


def test_run_that_can_only_be_read_is_not_resumed(read_only: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "@last", "--runs-dir", str(read_only.folder.parent)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"kdagent: {read_only.lock}: Read-only file system\nhint: ")


# ── two runs at once ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Together:
    kdagent: Kdagent
    said: list[Said]
    planned: list[RunPaths]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Two runs that began at once with an empty cache, in a folder with a run of another century."""
    place = tmp_path_factory.mktemp("together")
    kdagent = Kdagent(place / "runs", place / "home" / "cache")
    later = kdagent.runs / "20990101-000000-kd-aaaa"
    later.mkdir(parents=True)
    record = {"schema": 1, "id": later.name, "status": "planned", "created": "", "options": {"idea": "kd"}}
    (later / "run.json").write_text(json.dumps(record))
    tiny = (*TINY, "--seeds", "1", "--plan-only")
    begun = [kdagent.start("run", f"soft labels, {which}", *tiny) for which in ("one", "two")]
    ended = [(process, *process.communicate(timeout=300)) for process in begun]
    said = [Said(process.returncode, out.decode(), err.decode()) for process, out, err in ended]
    return Together(kdagent, said, [paths for paths in runs.every(kdagent.runs) if paths.id != later.name])


def test_two_runs_at_once_prepare_their_data_once(together: Together) -> None:
    assert [said.code for said in together.said] == [0, 0], together.said
    assert sorted(len(list(paths.jobs.glob("prepare-*"))) for paths in together.planned) == [0, 1]
    one, two = (json.loads(paths.facts.read_text()) for paths in together.planned)
    assert one == two
    [data] = (path for path in (together.kdagent.cache / "data").iterdir() if path.is_dir())
    assert str(data) == one["tracks"]["digits"]["folder"]


def test_two_runs_at_once_share_one_teacher(together: Together) -> None:
    begun = [together.kdagent.start("resume", paths.id, "--yes") for paths in together.planned]
    for process in begun:
        process.communicate(timeout=300)
    assert [process.returncode for process in begun] == [0, 0]
    one, two = (paths.teacher("digits") / "trace.jsonl" for paths in together.planned)
    assert one.read_bytes() == two.read_bytes()
    assert [verify(paths).findings for paths in together.planned] == [[], []]


def test_run_whose_time_is_spent_says_so_and_how_to_get_more(together: Together) -> None:
    """Its time goes on where an earlier process left it."""
    assert together.kdagent("run", "soft labels, three", *TINY, "--plan-only").code == 0
    [paths] = [
        each for each in runs.every(together.kdagent.runs) if runs.read(each)["options"]["idea"].endswith("three")
    ]
    paths.clock.write_text(json.dumps({"schema": 1, "spent": 1e6, "phases": {"train": 1e6}}))
    said = together.kdagent("resume", paths.id, "--yes")
    assert said.code == 5
    assert said.err.startswith("kdagent: time budget: 10000") and "s are spent, 900 s were planned" in said.err
    assert f"kdagent review {paths.id} --edit budget.seconds=N" in said.err and "continue with" not in said.err


def test_run_that_the_clock_puts_before_another_says_that_it_is_not_the_last(together: Together) -> None:
    """Whoever goes on with @last would go on with the other one."""
    for said in together.said:
        warning = "kdagent: this clock is behind that of 20990101-000000-kd-aaaa: @last names that run, not "
        assert said.err.startswith(warning)
        assert f"resume {said.err.removeprefix(warning).split()[0]}" in said.out
