"""A recorded run with a model's own edits: played again without training, nobody asked, nothing else needed."""

from pathlib import Path

import pytest

from agent.recheck.likeness import Likeness
from agent.record.events import EventLog, broken_link
from agent.record.hashes import Note, noted
from agent.record.paths import RunPaths
from tests.agent.command import Kdagent
from tests.agent.loopback import LoopbackModel
from tests.campaigns.records.__main__ import PLAYED
from tests.campaigns.records.record import TENSORS, pack, unpack


@pytest.fixture
def kdagent(tmp_path: Path) -> Kdagent:
    return Kdagent(tmp_path / "runs", tmp_path / "cache")


@pytest.fixture
def paths(kdagent: Kdagent) -> RunPaths:
    return unpack(PLAYED, kdagent.runs)


def test_record_is_played_again_to_the_same_edits_and_decisions_and_nobody_is_asked(
    kdagent: Kdagent, paths: RunPaths
) -> None:
    with LoopbackModel([]) as server:
        asked = {"KDAGENT_BASE_URL": server.base_url, "KDAGENT_MODEL": "not-to-be-asked"}
        said = kdagent("replay", paths.id, "--level", "agent", "--json", **asked)
        assert (said.code, server.requests) == (0, []), said.err + said.out
    like = Likeness.model_validate_json(said.out)
    assert (like.verdict, like.asked, like.unused, like.plan) == ("match", 6, 0, ())
    assert like.reworded <= like.asked
    assert [(each.same_commit, each.same_decision) for each in like.attempts] == [(True, True), (True, True)]
    assert not kdagent.cache.exists()


def test_its_log_is_unbroken_and_its_files_are_those_that_the_log_notes(paths: RunPaths) -> None:
    events = EventLog(paths.events).read()
    assert broken_link(events) is None
    notes = noted(events)
    there = [path.relative_to(paths.folder).as_posix() for path in paths.folder.rglob("*") if path.is_file()]
    checked = [name for name in there if name in notes and Note.of_file(paths, name).sha256 == notes[name].sha256]
    assert sorted(set(there) - set(checked)) == ["events.jsonl"] and len(checked) > 25


def test_packing_it_again_gives_the_same_text(paths: RunPaths, tmp_path: Path) -> None:
    pack(paths, tmp_path / "again")
    assert (tmp_path / "again" / TENSORS).read_bytes() == (PLAYED / TENSORS).read_bytes()
