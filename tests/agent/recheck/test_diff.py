"""The difference between two runs, one of them an altered copy of the other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.errors import UsageError
from agent.recheck import diff
from agent.record import runs
from agent.record.paths import RunPaths
from agent.results.read import results_of
from tests.agent.forged import OPTIONS
from tests.agent.gates import Gates
from tests.agent.records import Records

Change = Callable[[dict[str, Any]], Any]


def changed(path: Path, change: Change) -> None:
    """The JSON of a file, changed in place."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.fixture
def first(gates: Gates) -> RunPaths:
    return gates.paths


@pytest.fixture
def second(gates: Gates, tmp_path: Path) -> RunPaths:
    copied = RunPaths(tmp_path / "runs" / "20990101-000000-second-bbbb")
    shutil.copytree(gates.paths.folder, copied.folder)
    return copied


def test_runs_that_were_only_planned_differ_by_their_plans(tmp_path: Path) -> None:
    made = []
    for name, values in (("a", {}), ("b", {"temperature": 9, "epochs": 2})):
        paths = runs.create(tmp_path / name, "kd", OPTIONS)
        paths.plan.write_text(Records(tmp_path / f"records-{name}", **values).plan.model_dump_json(by_alias=True))
        made.append(paths)
    found = diff.between(*made)
    assert [(each.name, each.second) for each in found.plan] == [
        ("digits.training.epochs", "2.0"),
        ("digits.method.temperature", "9.0"),
    ]
    assert (found.data, found.environment, found.code) == ((), (), "")
    [track] = found.metrics
    assert track.reason == f"{made[0].id} has no proposed arm that was measured"


@pytest.mark.parametrize("method", ["kd", "attention", "logit_mse"])
def test_a_plan_of_before_a_setting_differs_by_its_value_alone(tmp_path: Path, method: str) -> None:
    now = Records(tmp_path, method=method).plan
    said = now.model_dump(mode="json", by_alias=True)
    del said["tracks"][0]["method"]["centred"]
    before = type(now).model_validate(said)
    assert "centred" not in before.tracks[0].method.model_dump() and diff.plan_changes(before, now) == ()
    said["tracks"][0]["method"]["centred"] = not now.tracks[0].method.centred
    [change] = diff.plan_changes(before, type(now).model_validate(said))
    assert (change.name, change.first, change.second) == ("digits.method.centred", "True", "False")


def test_run_without_a_plan_is_not_compared(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "kd", OPTIONS)
    with pytest.raises(UsageError, match="has no plan yet"):
        diff.between(paths, paths)


@pytest.mark.slow
def test_run_does_not_differ_from_itself(first: RunPaths) -> None:
    found = diff.between(first, first)
    assert (found.plan, found.data, found.environment, found.code) == ((), (), (), "")
    [track] = found.metrics
    assert track.reason == "" and {c.difference for c in track.comparisons} == {0.0}


@pytest.mark.slow
def test_arms_of_two_runs_are_paired_like_arms_of_one(first: RunPaths, second: RunPaths) -> None:
    """A run whose proposed arm is the first's plain student: the difference is the one in the first's own report."""
    for seed in (0, 1):
        for name in ("test.safetensors", "test.json"):
            shutil.copy(second.trial("student_only", "digits", seed) / name, second.trial("attempt-1", "digits", seed))
    [track] = diff.between(second, first).metrics
    results = results_of(first)
    assert results is not None
    expected = [c for c in results.tracks[0].comparisons if c.benchmark == "student_only"]
    names = {"proposed": first.id, "benchmark": second.id}
    assert list(track.comparisons) == [c.model_copy(update=names) for c in expected]


def no_attempt_kept(record: dict[str, Any]) -> None:
    record["attempts"][0]["outcome"] = "rejected"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("plan.json", lambda r: r.update(seeds=[0, 2]), "lacks trials/attempt-1/digits/2/test.safetensors"),
        ("plan.json", lambda r: r.update(seeds=[1, 0]), "the seeds differ: [0, 1] and [1, 0]"),
        ("plan.json", lambda r: r["tracks"][0]["task"].update(hash="f" * 64), "the data differ: hash "),
        ("plan.json", lambda r: r["tracks"][0]["task"].update(test_rows=499), "the test rows differ: test_rows "),
        ("plan.json", lambda r: r["tracks"][0].update(name="photos"), "has no track photos"),
        ("results.json", no_attempt_kept, "has no proposed arm that was measured"),
    ],
)
def test_arms_that_cannot_be_paired_say_why(
    first: RunPaths, second: RunPaths, file: str, change: Change, reason: str
) -> None:
    changed(second.folder / file, change)
    said = [track.reason for track in diff.between(first, second).metrics]
    assert any(reason in each for each in said) and all(said)


@pytest.mark.slow
def test_run_whose_labels_are_gone_is_not_compared(first: RunPaths, second: RunPaths) -> None:
    shutil.rmtree(second.labels)
    [track] = diff.between(first, second).metrics
    assert track.reason == f"{second.id} lacks labels/digits/test.safetensors"


@pytest.mark.slow
def test_command_shows_plan_data_environment_code_and_metrics(
    first: RunPaths, second: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(first.folder, second.folder.parent / first.id)
    changed(second.plan, lambda r: r.update(level=0.01))
    changed(second.plan, lambda r: r["tracks"][0]["task"].update(revision="abc"))
    changed(second.results, lambda r: r["environment"]["torch"].update(value="9.9"))
    changed(second.results, lambda r: r["code"].update(updated="\x1b[31m = 1\n"))
    words = ["diff", first.id, second.id, "--runs-dir", str(second.folder.parent)]
    assert main(words) == 0
    said = capsys.readouterr().out
    for line in ("  level: 0.05 → 0.01", "  digits.revision:  → abc", "→ 9.9", "+\\x1b[31m = 1", "second minus first"):
        assert line in said, line
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"] == [{"name": "level", "first": "0.05", "second": "0.01"}]
    assert found["metrics"][0]["comparisons"][0]["metric"] == "accuracy"
