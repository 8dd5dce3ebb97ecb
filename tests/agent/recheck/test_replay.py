"""Replays: the record is played again, what comes of it is compared, and the exit code says how like it is."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from agent.cli import parser
from agent.commands.replay import replay_options
from agent.plan.options import Options
from agent.recheck import similarity
from agent.record.events import EventLog
from agent.record.paths import RunPaths
from tests.agent.command import Kdagent, Said
from tests.agent.gates import Gates
from tests.agent.loopback import LoopbackModel

pytestmark = pytest.mark.slow


@pytest.fixture
def kdagent(gates: Gates, tmp_path: Path) -> Kdagent:
    """With a runs folder that holds a copy of the finished run."""
    shutil.copytree(gates.paths.folder, tmp_path / "runs" / gates.paths.id)
    return Kdagent(tmp_path / "runs", gates.kdagent.cache)


@pytest.fixture
def original(kdagent: Kdagent) -> RunPaths:
    [folder] = kdagent.runs.iterdir()
    return RunPaths(folder)


def hashes(paths: RunPaths) -> dict[str, str]:
    files = (path for path in paths.folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def replayed(kdagent: Kdagent, original: RunPaths) -> list[RunPaths]:
    return [RunPaths(folder) for folder in sorted(kdagent.runs.iterdir()) if folder.name != original.id]


def found(said: Said) -> similarity.Likeness:
    return similarity.Likeness.model_validate_json(said.out)


def line(path: Path, change: Callable[[dict[str, Any]], None], kind: str) -> None:
    """Change the first event of a kind."""
    lines = path.read_text().splitlines(keepends=True)
    number = next(n for n, text in enumerate(lines) if json.loads(text)["kind"] == kind)
    event = json.loads(lines[number])
    change(event["data"])
    lines[number] = json.dumps(event) + "\n"
    path.write_text("".join(lines))


# ── level report ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_report_comes_out_byte_for_byte(kdagent: Kdagent, original: RunPaths) -> None:
    before = hashes(original)
    said = kdagent("replay", "@last", "--level", "report")
    assert said.code == 0, said.err
    assert f"replay of {original.id}, level report: match (bytes)" in said.out
    assert hashes(original) == before
    [made] = replayed(kdagent, original)
    assert json.loads(made.run.read_text())["parent"] == original.id
    assert kdagent("verify", made.id).code == 0


def test_altered_report_differs_from_its_line_on(kdagent: Kdagent, original: RunPaths) -> None:
    text = original.report.read_text()
    at = text.index("## Results") if "## Results" in text else len(text) // 2
    digit = next(place for place in range(at, len(text)) if text[place].isdigit())
    original.report.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    said = kdagent("replay", "@last", "--level", "report")
    assert said.code == 1
    assert f"report.md differs from line {text[:digit].count(chr(10)) + 1} on" in said.out


# ── level agent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_recorded_conversation_leads_to_the_same_plan_commits_and_decisions(
    kdagent: Kdagent, original: RunPaths
) -> None:
    before = hashes(original)
    with LoopbackModel([]) as server:
        asked = {"KDAGENT_BASE_URL": server.base_url, "KDAGENT_MODEL": "not-to-be-asked"}
        said = kdagent("replay", original.id, "--level", "agent", "--json", **asked)
        assert said.code == 0, said.err
        assert server.requests == []
    like = found(said)
    assert (like.verdict, like.how, like.plan, like.code) == ("match", "decisions", (), "")
    assert [(each.same_commit, each.same_decision) for each in like.attempts] == [(True, True)]
    assert like.asked >= 2 and like.unused == 0
    assert hashes(original) == before
    [made] = replayed(kdagent, original)
    assert made.plan.read_bytes() == original.plan.read_bytes()
    assert not made.results.exists() and "Nothing was trained." in made.replay_report.read_text()
    assert kdagent("verify", made.id).code == 0


def test_other_prompt_is_drift_with_the_line_that_differs(kdagent: Kdagent, original: RunPaths) -> None:
    record = json.loads(original.run.read_text())
    record["options"]["idea"] = "soft labels, but softer"
    original.run.write_text(json.dumps(record, indent=1))
    said = kdagent("replay", original.id, "--level", "agent")
    assert said.code == 6
    assert "the record has no reply to plan request 1: message 2 (user) differs: line " in said.err
    [made] = replayed(kdagent, original)
    assert json.loads(made.replay.read_text())["verdict"] == "drift"
    assert "**drift** at level agent" in made.replay_report.read_text()


def test_other_decision_is_drift(kdagent: Kdagent, original: RunPaths) -> None:
    line(original.events, lambda data: data.update(dev_score=0.99), "decided")
    said = kdagent("replay", original.id, "--level", "agent")
    assert said.code == 6 and "not as recorded: attempt 1" in said.out


def test_other_commit_is_drift_before_its_predictions_are_used(kdagent: Kdagent, original: RunPaths) -> None:
    line(original.events, lambda data: data.update(commit="0" * 40), "attempt")
    said = kdagent("replay", original.id, "--level", "agent")
    assert said.code == 6 and "attempt-1 is commit " in said.err and "the record has 000000000000" in said.err


def test_missing_labels_are_named_with_the_exit_code_for_what_cannot_be_replayed(
    kdagent: Kdagent, original: RunPaths
) -> None:
    original.label_file("digits", "dev").unlink()
    said = kdagent("replay", original.id, "--level", "agent")
    assert said.code == 7 and "labels/digits/dev.safetensors is missing" in said.err


def test_unfinished_run_cannot_be_replayed(kdagent: Kdagent, original: RunPaths) -> None:
    original.results.unlink()
    said = kdagent("replay", original.id)
    assert said.code == 7 and "it has no results to replay" in said.err
    assert replayed(kdagent, original) == []


def test_two_replays_at_once_do_not_meet(kdagent: Kdagent, original: RunPaths) -> None:
    before = hashes(original)
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: kdagent("replay", original.id, "--level", "agent"), range(2)))
    assert [each.code for each in said] == [0, 0], [each.err for each in said]
    assert len(replayed(kdagent, original)) == 2 and hashes(original) == before


def test_replay_that_takes_seconds_is_not_resumed(kdagent: Kdagent, original: RunPaths) -> None:
    assert kdagent("replay", original.id, "--level", "agent").code == 0
    [made] = replayed(kdagent, original)
    said = kdagent("resume", made.id)
    assert said.code == 2 and f"kdagent replay {original.id}" in said.err


def test_imported_run_is_trained_only_when_that_is_asked_for(kdagent: Kdagent, original: RunPaths) -> None:
    record = json.loads(original.run.read_text()) | {
        "imported": {"time": "2026-01-01T00:00:00+00:00", "archive": "0" * 64}
    }
    original.run.write_text(json.dumps(record, indent=1))
    said = kdagent("replay", original.id)
    assert said.code == 2 and "was imported, and level full runs its train.py" in said.err
    assert kdagent("replay", original.id, "--level", "agent").code == 0


@pytest.mark.parametrize("foreign", [True, False])
def test_somebody_elses_run_names_no_endpoint_folder_or_isolation_of_ours(foreign: bool) -> None:
    theirs = {"isolation": "process", "data_dir": "/d", "data": "/s", "model": "m", "base_url": "http://other/v1"}
    words = ["replay", "x"]
    options = replay_options(Options("kd", **theirs), parser(words).parse_args(words), foreign)
    neutral = dict.fromkeys(theirs, "") | {"isolation": "auto"}
    assert {name: getattr(options, name) for name in theirs} == (neutral if foreign else theirs)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def twins(original: RunPaths, tmp_path: Path) -> Iterator[tuple[RunPaths, RunPaths]]:
    """A run, and a copy in the place of its replay."""
    yield original, RunPaths(shutil.copytree(original.folder, tmp_path / "twin"))


def shift(path: Path, by: float) -> None:
    """Add to the first class's logits."""
    logits = load_file(path)["logits"].copy()
    logits[:, 0] += by
    path.unlink()
    save_file({"logits": logits}, path)


def elsewhere(paths: RunPaths) -> None:
    """The replay as of another processor."""
    results = json.loads(paths.results.read_text())
    results["environment"]["processor"]["value"] = "another"
    paths.results.write_text(json.dumps(results))


def test_equal_predictions_and_losses_match_exactly(twins: tuple[RunPaths, RunPaths]) -> None:
    like = similarity.same_numbers("full", *twins)
    assert (like.verdict, like.how, like.exit_code) == ("match", "exact", 0)
    assert like.equal[0] == like.equal[1] >= 13 and like.partings == ()


def test_last_bit_differs_in_the_same_environment(twins: tuple[RunPaths, RunPaths]) -> None:
    shift(twins[1].trial("vanilla_kd", "digits", 1) / "test.safetensors", 1e-6)
    like = similarity.same_numbers("full", *twins)
    assert (like.verdict, like.how, like.exit_code) == ("differs", "exact", 1)
    assert like.equal[1] - like.equal[0] == 1


def test_missing_prediction_is_no_match(twins: tuple[RunPaths, RunPaths]) -> None:
    elsewhere(twins[1])
    (twins[1].teacher("digits") / "test.safetensors").unlink()
    (twins[1].trial("vanilla_kd", "digits", 1) / "test.safetensors").unlink()
    like = similarity.same_numbers("full", *twins)
    assert like.verdict == "differs" and "not comparable: vanilla_kd on digits" in like.reason


def test_first_step_at_which_losses_part_is_named(twins: tuple[RunPaths, RunPaths]) -> None:
    trace = twins[1].trial("attempt-1", "digits", 0) / "trace.jsonl"
    lines = [json.loads(text) for text in trace.read_text().splitlines()]
    logs = [entry for entry in lines if entry["event"] == "log"]
    logs[1]["loss"] += 0.001
    trace.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    like = similarity.same_numbers("full", *twins)
    [parting] = like.partings
    assert (parting.arm, parting.seed, parting.step) == ("attempt-1", 0, logs[1]["step"])
    assert like.verdict == "differs" and f"losses first differ at step {parting.step}" in like.reason


def test_small_differences_on_another_machine_are_within_the_tolerances(twins: tuple[RunPaths, RunPaths]) -> None:
    elsewhere(twins[1])
    shift(twins[1].trial("vanilla_kd", "digits", 1) / "test.safetensors", 1e-5)
    like = similarity.same_numbers("full", *twins)
    assert (like.verdict, like.how, like.exit_code) == ("match", "tolerance", 0)
    assert "the environments differ in processor" in like.reason


def test_larger_ones_are_compatible_at_best_and_never_the_same(twins: tuple[RunPaths, RunPaths]) -> None:
    elsewhere(twins[1])
    shift(twins[1].trial("vanilla_kd", "digits", 1) / "test.safetensors", 0.01)
    like = similarity.same_numbers("full", *twins)
    assert (like.verdict, like.how, like.exit_code) == ("compatible", "statistical", 0)
    assert len(like.pairs) == 5 and all(pair.low <= 0 <= pair.high for pair in like.pairs)


def test_other_answers_differ_whatever_the_machine(twins: tuple[RunPaths, RunPaths]) -> None:
    elsewhere(twins[1])
    labels = load_file(twins[1].label_file("digits", "test"))["labels"]
    for seed in (0, 1):
        path = twins[1].trial("vanilla_kd", "digits", seed) / "test.safetensors"
        logits = load_file(path)["logits"].copy() * 0
        logits[range(len(labels)), labels] = 1
        path.unlink()
        save_file({"logits": logits}, path)
    like = similarity.same_numbers("full", *twins)
    assert (like.verdict, like.exit_code) == ("differs", 1)
    assert "excludes zero: vanilla_kd on digits" in like.reason


def test_every_prediction_of_the_run_is_compared(original: RunPaths) -> None:
    names = similarity._predictions(original)
    kinds = [event["kind"] for event in EventLog(original.events).read()]
    assert len(names) == 2 * (kinds.count("trial") // 2) + 2 + 1, os.fspath(original.folder)
