"""Trials of reference arms are reused where they would be the same to the last bit, and nowhere else."""

import json
from pathlib import Path

import pytest

from agent.cache.keys import digest
from agent.cache.trials import FILES, TrialStore
from tests.agent.command import TINY, Kdagent
from tests.baselines.lab import sha256

IDENTITY = {"train.py": "a file", "seed": 0}
REPORT = {"schema": 1, "status": "ok", "micro": 1}


def trial(folder: Path, **report: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "trace.jsonl").write_text('{"event": "end"}\n')
    (folder / "weights.safetensors").write_bytes(b"some weights")
    (folder / "trial.json").write_text(json.dumps(REPORT | report))
    return folder


@pytest.fixture
def stock(tmp_path: Path) -> TrialStore:
    made = TrialStore(tmp_path / "stock", "first")
    made.give(IDENTITY, trial(tmp_path / "given"))
    return made


def test_trial_is_found_by_its_identity_and_names_the_run_that_trained_it(stock: TrialStore, tmp_path: Path) -> None:
    assert TrialStore(stock.folder, "second").take(IDENTITY, tmp_path / "taken")
    assert [sha256(tmp_path / "taken" / name) for name in FILES[:2]] == [
        sha256(tmp_path / "given" / name) for name in FILES[:2]
    ]
    assert json.loads((tmp_path / "taken" / "trial.json").read_text()) == REPORT | {"reused": "first"}
    assert not stock.take(IDENTITY | {"seed": 1}, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", FILES)
def test_trial_that_was_changed_in_the_stock_is_not_taken(stock: TrialStore, tmp_path: Path, name: str) -> None:
    kept = stock.folder / digest(IDENTITY)
    with (kept / name).open("a") as file:
        file.write(" ")
    assert not stock.take(IDENTITY, tmp_path / "taken")
    assert stock.changed == {kept: name}


@pytest.mark.parametrize("text", [None, "[]", "{}", "not JSON"])
def test_trial_that_was_changed_in_the_stock_makes_room_for_the_one_trained_in_its_place(
    stock: TrialStore, tmp_path: Path, text: str | None
) -> None:
    origin = stock.folder / digest(IDENTITY) / "origin.json"
    origin.unlink() if text is None else origin.write_text(text)
    assert not stock.take(IDENTITY, tmp_path / "taken")
    stock.give(IDENTITY, trial(tmp_path / "again"))
    assert stock.take(IDENTITY, tmp_path / "taken")


@pytest.mark.parametrize("report", [{"status": "failed"}, {"micro": 2}, {"continued": 7}, {"reused": "before"}])
def test_only_a_trial_that_went_as_planned_is_kept(tmp_path: Path, report: dict[str, object]) -> None:
    stock = TrialStore(tmp_path / "stock", "first")
    stock.give(IDENTITY, trial(tmp_path / "given", **report))
    assert not stock.folder.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("gates")
def test_next_idea_trains_anew_only_what_it_changes_and_the_report_says_so(kdagent: Kdagent) -> None:
    """The gates' run has filled the stock; temperature is a setting of vanilla_kd, and of no other reference arm."""
    run = kdagent("run", "last 3 layers", "--set", "temperature=9", *TINY, "--yes", "--json").json["run"]["id"]
    [said] = [line for line in (kdagent.runs / run / "report.md").read_text().splitlines() if "were reused" in line]
    assert said.startswith("- digits: trials of all_labels, pseudo_label, student_only were reused from run ")
    assert kdagent("verify", run).code == 0
