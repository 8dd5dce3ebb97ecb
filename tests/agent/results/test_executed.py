"""Planned beside executed, from records as trials leave them."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.results.executed import fields, samples
from tests.agent.records import Records


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def status(records: Records, field: str) -> tuple[str, str]:
    row = records.rows[field]
    return row.executed, row.status


def test_honest_trials_match_in_every_field(records: Records) -> None:
    rows = records.rows
    assert {row.status for row in rows.values()} == {"MATCH"}
    training = set(records.track.training.settings)
    for part in ("training", "teacher_training"):
        assert {f"{part}.{name}" for name in training} <= rows.keys()
    assert {"method.temperature", "method.alpha", "seeds", "threads", "samples", "input_size"} <= rows.keys()
    assert {"task.train_rows", "task.transfer_rows", "task.dev_rows", "task.test_rows", "task.hash"} <= rows.keys()
    assert {name for name, row in rows.items() if row.where == "outside"} == {
        *("task.dev_rows", "task.test_rows", "task.labels", "task.hash", "student", "teacher")
    }


@pytest.mark.parametrize("when", ["start", "end"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.5),
        ("batch_size", 1),
        ("optimizer", "sgd"),
        ("accumulation", 7),
        ("weight_decay", 0.3),
        ("max_grad_norm", 1e9),
        ("precision", "bf16"),
    ],
)
def test_setting_that_differs_at_any_time_deviates(records: Records, when: str, name: str, value: Any) -> None:
    line = records.trace(1, records.track.training, records.track.steps)[when]
    records.write("proposed", 1, **{when: {"executed": line["executed"] | {name: value}}})
    executed, found = status(records, f"training.{name}")
    assert found == "DEVIATED" and f"{value:g}" if isinstance(value, float) else str(value) in executed


@pytest.mark.parametrize(("seen", "found"), [(True, "MATCH"), (False, "DEVIATED")])
def test_a_plan_that_compiles_is_held_against_what_trained(tmp_path: Path, seen: bool, found: str) -> None:
    records = Records(tmp_path, compiled=True)
    line = records.trace(1, records.track.training, records.track.steps)["start"]
    records.write("proposed", 1, start={"executed": line["executed"] | {"compiled": seen}})
    assert status(records, "training.compiled")[1] == found
    assert "teacher_training.compiled" not in records.rows


@pytest.mark.parametrize(("rate", "found"), [(None, "MATCH"), (0.5, "DEVIATED")])
def test_setting_is_read_again_where_a_trial_goes_on(records: Records, rate: float | None, found: str) -> None:
    line = records.trace(1, records.track.training, records.track.steps)["end"]
    executed = line["executed"] | ({"learning_rate": rate} if rate else {})
    with (records.folder / "proposed" / "1" / "trace.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "continued", "step": 3, "executed": executed}) + "\n")
    assert status(records, "training.learning_rate")[1] == found


@pytest.mark.parametrize(
    ("field", "end", "executed"),
    [
        ("training.epochs", {"step": 3, "updates": 3}, "3 steps"),
        ("training.epochs", {"updates": 99}, "with 99 updates of the optimizer"),
        ("training.schedule", {"schedule": "0.5 instead of 0.1 at update 3"}, "0.5 instead of 0.1 at update 3"),
        ("samples", {"forward_rows": 7}, "7"),
        ("samples", {"samples": 10**6}, "1000000"),
        ("samples", {"forward_rows": 20086}, "20086"),
        ("task.transfer_rows", {"distinct": {"train": 50, "transfer": 0}}, "0"),
        ("input_size", {"largest": 9}, "9"),
    ],
)
def test_what_one_trial_ended_with_deviates(records: Records, field: str, end: Any, executed: str) -> None:
    for seed in (0, 1):
        records.write("proposed", seed, end=end)
    found = records.rows[field]
    assert found.status == "DEVIATED" and executed in found.executed


def test_rows_shown_too_often_are_judged_as_they_were_when_a_record_was_made(records: Records) -> None:
    for seed in (0, 1):
        records.write("proposed", seed, end={"forward_rows": 20086})
    judged = {schema: {row.field: row.status for row in fields(records.evidence, schema)} for schema in (2, 3)}
    assert {schema: rows["samples"] for schema, rows in judged.items()} == {2: "MATCH", 3: "DEVIATED"}


@pytest.mark.parametrize(
    ("said", "found"), [(8, ("8", "MATCH")), (1, ("1", "DEVIATED")), (None, ("not seen", "NOT_SEEN"))]
)
def test_views_are_held_against_the_plan(tmp_path: Path, said: int | None, found: tuple[str, str]) -> None:
    records = Records(tmp_path, views=8)
    assert "views" not in Records(tmp_path / "one view").rows
    for seed in (0, 1):
        records.write("proposed", seed, end={"views": said} if said else {})
    assert status(records, "views") == found


def test_other_seed_or_threads_than_planned_deviate(records: Records) -> None:
    start = records.trace(1, records.track.training, records.track.steps)["start"]["executed"]
    records.write("proposed", 1, start={"executed": start | {"seed": 7, "threads": 5, "warmup": 99}})
    assert status(records, "seeds") == ("[0, 7]", "DEVIATED")
    assert status(records, "threads") == ("1, 5", "DEVIATED")
    assert records.rows["training.warmup"].status == "DEVIATED"


@pytest.mark.parametrize("line", ["start", "end"])
def test_what_one_trial_left_no_trace_of_is_not_seen(records: Records, line: str) -> None:
    records.write("proposed", 1, **{line: None})
    assert status(records, "training.learning_rate") == ("not seen", "NOT_SEEN")
    assert {row.status for row in records.rows.values() if row.where == "outside"} == {"MATCH"}


@pytest.mark.parametrize("reads", [{}, {"temperature": 4}, {"temperature": 4, "alpha": 0}])
def test_setting_that_train_py_never_read_is_not_seen(records: Records, reads: dict[str, int]) -> None:
    records.write("proposed", 0, end={"reads": reads})
    assert status(records, "method.alpha") == ("not read at 0", "NOT_SEEN")
    records.write("proposed", 1, end={"reads": reads})
    assert status(records, "method.alpha") == ("not read at any seed", "NOT_SEEN")


def test_a_value_of_a_method_is_not_called_executed_where_it_was_only_read(records: Records) -> None:
    assert status(records, "method.temperature") == ("read at every seed", "MATCH")


@pytest.mark.parametrize(("reads", "cell"), [({"temperature": 4}, ("3", "MATCH")), ({}, ("not seen", "NOT_SEEN"))])
def test_results_of_before_have_the_cell_as_it_was(records: Records, reads: dict[str, int], cell: tuple) -> None:
    records.write("proposed", 0, end={"reads": reads})
    [row] = [row for row in fields(records.evidence, schema=1) if row.field == "method.temperature"]
    assert (row.executed, row.status) == cell


def test_setting_that_the_plan_leaves_out_must_not_be_read(tmp_path: Path) -> None:
    records = Records(tmp_path, **{"method.unused": ["temperature"]})
    assert status(records, "method.temperature") == ("read by train.py", "DEVIATED")
    for seed in (0, 1):
        records.write("proposed", seed, end={"reads": {"alpha": 3}})
    assert status(records, "method.temperature") == ("not used", "MATCH")


def test_batch_that_the_harness_split_is_the_planned_one(records: Records) -> None:
    trace = records.trace(0, records.track.training, records.track.steps)
    split = {"batch_size": records.track.training.batch_size // 2, "accumulation": 2}
    due = samples(records.track, 2)
    for seed in (0, 1):
        lines = {when: {"executed": trace[when]["executed"] | split} for when in ("start", "end")}
        lines["start"]["executed"]["seed"] = seed
        lines["end"] |= {"forward_rows": due, "samples": due}
        records.write("proposed", seed, **lines)
    assert records.rows["training.batch_size"].status == "DEVIATED"  # train.py did it, not the harness
    for seed in (0, 1):
        records.write("proposed", seed, trial={"micro": 2}, **lines)
    for field in ("training.batch_size", "training.accumulation", "samples"):
        assert records.rows[field].status == "MATCH", records.rows[field]


@pytest.mark.parametrize(
    ("field", "facts", "executed"),
    [
        ("task.test_rows", {"answers": {"dev": (200, 10), "test": (499, 10)}}, "499"),
        ("task.hash", {"data_same": False}, "other files"),
        ("teacher", {"teacher_prediction": {"class": "Other", "parameters": 1}}, "Other, 1 parameters"),
    ],
)
def test_what_was_found_outside_deviates(records: Records, field: str, facts: Any, executed: str) -> None:
    records.facts = facts
    assert status(records, field) == (executed, "DEVIATED")


def test_layers_that_were_not_probed_deviate_from_the_planned_number(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective")
    assert status(records, "teacher layers in the loss") == ("3", "MATCH")
    records.probe({"logits": 0.1, "features-3": 0.1})
    assert status(records, "teacher layers in the loss") == ("1", "DEVIATED")


@pytest.mark.parametrize(("train", "transfer", "size", "steps", "rows"), [(64, 32, 16, 6, 96), (64, 36, 16, 7, 112)])
def test_full_batches_are_counted_over_epochs(
    tmp_path: Path, train: int, transfer: int, size: int, steps: int, rows: int
) -> None:
    wanted = {"sizes.train_rows": train, "sizes.transfer_rows": transfer, "training.batch_size": size}
    track = Records(tmp_path, **wanted, **{"training.epochs": steps / -(-(train + transfer) // size)}).track
    assert (track.steps, samples(track, 1)) == (steps, rows)


def test_partial_batches_count_where_few_rows_are_labelled(tmp_path: Path) -> None:
    wanted = {"sizes.train_rows": 10, "sizes.transfer_rows": 26, "training.batch_size": 16, "training.epochs": 2}
    assert samples(Records(tmp_path, **wanted).track, 1) == 72


def test_without_a_teacher_the_transfer_rows_are_left_out(tmp_path: Path) -> None:
    records = Records(tmp_path, "finetune")
    assert {row.status for row in records.rows.values() if row.field != "task.transfer_rows"} == {"MATCH"}
    assert records.rows["task.transfer_rows"].status == "DEVIATED"  # these records show them all
    for seed in (0, 1):
        records.write("proposed", seed, end={"distinct": {"train": records.track.task.train_rows, "transfer": 0}})
    assert status(records, "task.transfer_rows") == ("0", "MATCH")


def test_an_assistant_is_held_against_its_plan_as_a_teacher_is(tmp_path: Path) -> None:
    records = Records(tmp_path, "assistant")
    steps = records.track.teacher_steps
    assert status(records, "assistant.steps") == (str(steps), "MATCH") and status(records, "assistant")[1] == "MATCH"
    records.assist(end={"step": 3, "updates": 3}, test={"parameters": 7})
    assert status(records, "assistant.steps") == ("3", "DEVIATED") and status(records, "assistant")[1] == "DEVIATED"
    (tmp_path / "assistant" / "test.json").unlink()
    (tmp_path / "assistant" / "trace.jsonl").unlink()
    assert {status(records, field)[1] for field in ("assistant.steps", "assistant")} == {"NOT_SEEN"}
    assert not {"assistant.steps", "assistant"} & Records(tmp_path, "kd").rows.keys()


def test_texts_that_a_method_keeps_are_those_that_it_learns_from(tmp_path: Path) -> None:
    records = Records(tmp_path, "miniplm", "docstrings_text")
    assert {row.status for row in records.rows.values()} == {"MATCH"}
    assert "task.train_rows" not in records.rows
    assert records.rows["task.train_rows, those kept"].planned == "2850"  # half of what the reference model leaves
    for seed in (0, 1):
        records.write("proposed", seed, end={"distinct": {"train": 6000, "transfer": 0}})
    assert status(records, "task.train_rows, those kept") == ("6000", "DEVIATED")


def test_critical_layers_are_those_of_largest_score_and_must_be_the_ones_in_the_loss(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective", layer_map="critical", layers=2)
    assert "critical teacher layers" not in records.rows
    records.facts = {"scores": (0.3, 0.1, 0.3)}
    assert status(records, "critical teacher layers") == ("1, 2", "DEVIATED")
    records.probe({"logits": 0.1, "features-1": 0.1, "features-3": 0.1})
    assert status(records, "critical teacher layers") == ("1, 3", "MATCH")


def test_setting_of_another_signal_has_no_row_unless_it_is_read(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective")
    assert status(records, "method.queue") == ("read at every seed", "MATCH")
    for seed in (0, 1):
        records.write("proposed", seed, end={"reads": {"norm": 4}})
    assert "method.queue" not in records.rows and records.rows["method.norm"].status == "MATCH"
