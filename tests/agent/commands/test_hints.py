"""Commands that kdagent prints as a next step work where they are pasted, for runs outside the default folder too."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import main, parser
from agent.recheck import archive
from agent.record import hashes, runs
from agent.record.events import EventLog
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from tests.agent.command import TINY, Kdagent
from tests.agent.forged import OPTIONS
from tests.agent.gates import Gates
from tests.agent.records import Records

Say = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder that is not the default, with a name that a shell would take apart."""
    monkeypatch.setenv("KDAGENT_RUNS", str(tmp_path / "default"))
    monkeypatch.setenv("KDAGENT_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "other runs"
    made.mkdir()
    return made


@pytest.fixture
def paths(folder: Path, tmp_path: Path) -> RunPaths:
    """A run there whose plan waits for approval."""
    made = runs.create(folder, "kd", OPTIONS)
    plan = Records(tmp_path / "records").plan
    EventLog(made.events).append("planned", hash=plan.hash, warnings=[])
    write_whole(made.plan, plan.model_dump_json(by_alias=True))
    hashes.stop(made, "awaiting_review", "the plan waits for approval")
    return made


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """The commands that one prints, as words."""

    def printed(*words: str, code: int = 0) -> list[str]:
        assert main([*words, "--runs-dir", str(folder)]) == code
        captured = capsys.readouterr()
        return commands(captured.out + captured.err)

    return printed


def commands(text: str) -> list[str]:
    """Each up to the end of its folder, which stands last."""
    return re.findall(r"kdagent [^\n]*?--runs-dir '[^']*'", text)


def followed(command: str, **fill: str) -> int:
    words = shlex.split(command)[1:]
    return main([fill.get(word, word) for word in words])


def test_unknown_run_leads_to_the_list_of_that_folder(
    say: Say, paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    [listing] = say("show", "20990101", code=2)
    assert followed(listing) == 0
    assert paths.id in capsys.readouterr().out


def test_empty_folder_leads_to_a_run_in_it(say: Say, folder: Path) -> None:
    [start] = say("runs")
    words = shlex.split(start)[1:]
    parsed = parser(words).parse_args(words)
    assert (parsed.command, parsed.runs_dir, parsed.yes) == ("run", str(folder), True)


def test_pending_plan_leads_to_both_decisions(say: Say, paths: RunPaths) -> None:
    approve, reject = say("review", paths.id, code=8)
    assert followed(reject) == 0 and runs.read(paths)["status"] == "cancelled"
    assert followed(approve) == 2  # found there, and decided already


def test_approved_plan_leads_to_the_run(say: Say, paths: RunPaths) -> None:
    [resume] = say("review", paths.id, "--approve")
    assert shlex.split(resume) == ["kdagent", "resume", paths.id, "--runs-dir", str(paths.folder.parent)]
    assert say("report", paths.id, code=2) == say("replay", paths.id, code=7) == [resume]


@pytest.mark.slow
def test_rejected_plan_leads_to_an_amendment(say: Say, paths: RunPaths) -> None:
    [amend] = say("review", paths.id, "--reject")
    assert say("report", paths.id, code=2) == say("review", paths.id, "--approve", code=2) == [amend]
    assert followed(amend, **{"FIELD=VALUE": "epochs=1"}) == 0
    assert len(list(runs.every(paths.folder.parent))) == 2


def test_imported_run_leads_to_its_check_and_to_a_run_of_one_s_own(say: Say, paths: RunPaths, tmp_path: Path) -> None:
    archive.export(paths, tmp_path / "run.tar.gz")
    runs.remove([paths])
    [verify] = say("import", str(tmp_path / "run.tar.gz"))
    assert followed(verify) == 1  # found there, and without the facts that a planned run has
    for words in (("resume", paths.id), ("report", paths.id), ("review", paths.id, "--edit", "epochs=2")):
        [own] = say(*words, code=2)
        parsed = parser(shlex.split(own)[1:]).parse_args(shlex.split(own)[1:])
        assert (parsed.command, parsed.idea, parsed.runs_dir) == ("run", "kd", str(paths.folder.parent))
    theirs = {"model": "theirs", "base_url": "https://their.example/v1", "isolation": "process"}
    made = runs.read(paths)
    write_whole(paths.run, json.dumps(made | {"options": made["options"] | theirs}))
    [own] = say("resume", paths.id, code=2)
    assert "their" not in own and "process" not in own  # nobody sends our key to an address of somebody else's choice


def test_waste_is_that_of_the_folder_that_was_looked_at(say: Say, folder: Path) -> None:
    (folder / ".removed-x").mkdir()
    (folder / ".removed-x" / "file").write_text("x")
    [collect] = say("gc")
    assert followed(collect) == 0
    assert list(folder.iterdir()) == []


def test_cache_entry_is_removed_by_the_command_that_is_shown(say: Say, tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "data" / ("ab" * 16)
    entry.mkdir(parents=True)
    [remove] = say("cache", "ls")
    assert followed(f"{remove} --yes", KEY="ab") == 0
    assert not entry.exists()


@pytest.mark.slow
def test_finished_run_leads_to_its_review_and_replays(say: Say, folder: Path, gates: Gates) -> None:
    paths = RunPaths(folder / gates.paths.id)
    shutil.copytree(gates.paths.folder, paths.folder)
    approve, _ = say("review", paths.id, code=8)
    assert followed(approve) == 0
    write_whole(paths.run, json.dumps(runs.read(paths) | {"imported": {"time": "", "archive": ""}}))
    [agent] = say("replay", paths.id, code=2)
    assert followed(agent) == 0
    made = next(runs.every(folder))
    [again] = say("resume", made.id, code=2)
    assert followed(again) == 0


@pytest.mark.slow
def test_run_that_waits_or_stopped_names_its_folder(kdagent: Kdagent, tmp_path: Path) -> None:
    folder = tmp_path / "other runs"
    planned = kdagent("run", "soft labels", *TINY, "--plan-only", "--runs-dir", str(folder))
    [resume] = commands(planned.out)
    approve, reject = commands(kdagent("resume", "@last", "--runs-dir", str(folder)).err)
    assert approve == resume
    assert kdagent(*shlex.split(reject)[1:]).code == 0
    assert kdagent(*shlex.split(approve)[1:]).out.startswith("run 2")
