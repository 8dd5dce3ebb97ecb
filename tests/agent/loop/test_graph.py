"""A whole run from the command line with the embedded recipes, stopped at every gate: what it left on disk."""

import json
from typing import Any

import pytest

from agent.plan.plan import Plan
from agent.record.events import EventLog, broken_link
from agent.record.files import file_hash
from agent.record.paths import Inside, RunPaths
from agent.results.schema import Results
from sandbox.workspace import Workspace
from tests.agent.gates import Gates

pytestmark = pytest.mark.slow
REFERENCE = ("student_only", "vanilla_kd", "pseudo_label", "all_labels")
ARMS = (*REFERENCE, "attempt-1")


@pytest.fixture
def paths(gates: Gates) -> RunPaths:
    return gates.paths


@pytest.fixture
def results(paths: RunPaths) -> Results:
    return Results.model_validate_json(paths.results.read_text())


@pytest.fixture
def events(paths: RunPaths) -> list[dict[str, Any]]:
    return EventLog(paths.events).read()


@pytest.fixture
def jobs(paths: RunPaths) -> list[dict[str, Any]]:
    """What each process was told."""
    return [json.loads(path.read_text()) for path in paths.jobs.rglob("job-*.json")]


# ── its record ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_record_holds_every_file_the_paths_name(paths: RunPaths) -> None:
    names = [name for name, member in vars(RunPaths).items() if isinstance(member, Inside)]
    missing = [name for name in names if not name.startswith("replay") and not getattr(paths, name).exists()]
    assert len(names) > 12 and missing == []
    for arm in ARMS:
        for seed in (0, 1):
            kept = {path.name for path in paths.trial(arm, "digits", seed).iterdir()}
            assert kept >= {"trial.json", "trace.jsonl", "weights.safetensors", "test.json", "test.safetensors"}
    assert (paths.teacher("digits") / "test.safetensors").exists()
    assert list(paths.scratch.iterdir()) == [] and not list(paths.folder.rglob("*.part"))


def test_plan_and_results_are_valid_and_belong_together(paths: RunPaths, results: Results) -> None:
    plan = Plan.model_validate_json(paths.plan.read_text())
    assert results.plan == plan and results.plan_hash == plan.hash
    assert (results.run, results.idea, results.status) == (paths.id, "soft labels", "complete")
    [track] = results.tracks
    assert [arm.name for arm in track.arms] == [*REFERENCE, "proposed"]
    assert all(len(arm.trials) == 2 and not arm.failures for arm in track.arms)
    assert not results.source.took_part


def test_events_are_one_unbroken_chain(events: list[dict[str, Any]]) -> None:
    assert broken_link(events) is None
    kinds = [event["kind"] for event in events]
    steps = ["planned", "workspace", "teachers", "trial", "reported"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in steps] == steps


def test_every_trial_has_a_commit_made_before_it(paths: RunPaths, events: list[dict[str, Any]]) -> None:
    workspace, committed = Workspace.open(paths.repository), dict[str, str]()
    for event in events:
        data = event["data"]
        if event["kind"] == "workspace":
            committed |= data["commits"]
        elif event["kind"] == "attempt":
            committed[f"attempt-{data['number']}"] = data["commit"]
        elif event["kind"] == "trial":
            exported = {path.read_text() for path in paths.jobs.glob(f"*/{data['arm']}/train.py")}
            assert exported == {workspace.read(committed[data["arm"]])}
    assert set(committed) == {"start", *ARMS}


def test_every_trial_is_noted_once_with_the_hash_of_its_weights(paths: RunPaths, events: list[dict[str, Any]]) -> None:
    trials = [event["data"] for event in events if event["kind"] == "trial"]
    assert sorted((t["arm"], t["seed"]) for t in trials) == sorted((arm, seed) for arm in ARMS for seed in (0, 1))
    for trial in trials:
        assert file_hash(paths.trial(trial["arm"], "digits", trial["seed"]) / "weights.safetensors") == trial["weights"]


def test_test_rows_are_predicted_once_per_final_arm(
    events: list[dict[str, Any]], jobs: list[dict[str, Any]], results: Results
) -> None:
    predicted = [event["data"]["arm"] for event in events if event["kind"] == "test predicted"]
    assert sorted(predicted) == sorted(["teacher", *ARMS])
    units = [
        unit["name"]
        for job in jobs
        if job.get("inputs", "").endswith("/held/test.safetensors")
        for unit in job["units"]
    ]
    assert sorted(units) == sorted(["teacher-0", *(f"{arm}-{seed}" for arm in ARMS for seed in (0, 1))])
    assert results.exposures == dict.fromkeys(["teacher", *REFERENCE, "proposed"], 1)


def test_no_trial_is_told_where_test_rows_or_hidden_labels_are(jobs: list[dict[str, Any]]) -> None:
    trials = [job for job in jobs if "steps" in job and "units" in job]
    blind = [job for job in trials if not any(unit["reveal_transfer"] for unit in job["units"])]
    assert {unit["arm"] for job in trials for unit in job["units"]} == set(ARMS)
    assert {unit["arm"] for job in trials for unit in job["units"] if unit["reveal_transfer"]} == {"all_labels"}
    assert "attempt-1" in {unit["arm"] for job in blind for unit in job["units"]}
    for job in blind:
        folders = {part for value in texts(job) for part in value.split("/")[:-1]} | {job["labels"]}
        assert folders.isdisjoint({"labels", "held"}) and job["labels"] == ""


def texts(value: Any) -> list[str]:
    """Every text in a JSON value, keys apart."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for item in inner for text in texts(item)]
    return [value] if isinstance(value, str) else []


def test_second_attempt_ends_where_the_recipes_have_no_further_edit(results: Results) -> None:
    assert results.plan.attempts == 2
    assert [(attempt.number, attempt.outcome) for attempt in results.attempts] == [(1, "kept")]


def test_processes_of_their_own_train_the_same_arm_to_the_same_bits(paths: RunPaths) -> None:
    """The recipes' train.py for this idea is the reference arm's."""
    for seed in (0, 1):
        for name in ("weights.safetensors", "test.safetensors"):
            proposed, vanilla = (paths.trial(arm, "digits", seed) / name for arm in ("attempt-1", "vanilla_kd"))
            assert file_hash(proposed) == file_hash(vanilla)


def test_finished_run_stays_as_it_is_when_resumed(gates: Gates) -> None:
    paths = gates.paths
    before = {path: path.read_bytes() for path in (paths.events, paths.results, paths.report, paths.run)}
    assert gates.kdagent("resume", "@last").code == 0
    assert {path: path.read_bytes() for path in before} == before


# ── its gates ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_plan_only_stops_with_a_plan_and_says_how_to_go_on(gates: Gates) -> None:
    said = gates.said["planned"]
    assert (said.code, gates.record["planned"]["status"]) == (0, "planned")
    assert f"planned; continue with: kdagent resume {gates.paths.id} --yes\n" in said.out
    assert "temperature" in said.out and f"plan: {gates.paths.plan}\n" in said.out
    assert "isolation: process, level 0" in said.out and "  not covered: network: open\n" in said.out


def test_review_waits_where_nobody_can_be_asked(gates: Gates) -> None:
    said = gates.said["waiting"]
    assert (said.code, gates.record["waiting"]["status"]) == (8, "awaiting_review")
    run = gates.paths.id
    hint = f"approve it with: kdagent resume {run} --yes; reject it for good with: kdagent review {run} --reject"
    assert said.err == f"kdagent: the plan waits for approval\nhint: {hint}\n"


def test_ctrl_c_leaves_a_cancelled_run_and_the_command_that_goes_on(gates: Gates) -> None:
    said = gates.said["stopped"]
    assert (said.code, gates.record["stopped"]["status"]) == (130, "cancelled")
    message, hint = said.err.splitlines()
    assert message.startswith("kdagent: stopped while ")
    assert hint == f"hint: continue with: kdagent resume {gates.paths.id}"


def test_ctrl_c_leaves_no_process_behind(gates: Gates) -> None:
    assert gates.left_running == []


def test_resumed_run_repeats_no_finished_trial(gates: Gates) -> None:
    assert gates.record["done"]["status"] == "succeeded"
    assert len(gates.weights) == 2 * len(REFERENCE)
    assert {path: path.stat().st_mtime_ns for path in gates.weights} == gates.weights
    events = EventLog(gates.paths.events)
    assert [events.count("trial", arm=arm, seed=seed) for arm in ARMS for seed in (0, 1)] == [1] * 10
