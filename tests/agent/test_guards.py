"""Planned beside executed, and every guard's three outcomes, from records as trials leave them."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent import evidence, planner
from agent.compare import Guard
from agent.evidence import TrialRecord
from agent.options import Options
from agent.plan import Plan, Proposal

PROSE = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
GOOD = {"student_only": [0.8, 0.8], "proposed": [0.9, 0.9]}


class Records:
    """The trials of two arms with two seeds, honest until changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wanted = Options(idea="kd", tasks=("digits",), values={"seeds": [0, 1], "method.name": "kd"})
        said = Proposal.model_validate(PROSE | {"method": "kd"})
        self.plan: Plan = planner.freeze(planner.draft(wanted), wanted, said, {})
        self.track = self.plan.tracks[0]
        self.overlap = 0
        for arm in ("student_only", "proposed"):
            for seed in (0, 1):
                self.write(arm, seed)

    def write(self, arm: str, seed: int, **change: dict[str, Any] | None) -> None:
        """One trial; `change` updates its files' values, or leaves a trace line out where it is None."""
        place = self.folder / arm / str(seed)
        place.mkdir(parents=True, exist_ok=True)
        files = {"trial": {"status": "ok", "initial": f"i{seed}"}}
        files["test"] = {"status": "ok", "initial": f"i{seed}", "change": 0.5}
        for name, values in files.items():
            (place / f"{name}.json").write_text(json.dumps(values | (change.get(name) or {})))
        lines = [
            {"event": name} | values | (change.get(name) or {})
            for name, values in self.trace(seed).items()
            if change.get(name, {}) is not None
        ]
        (place / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def trace(self, seed: int) -> dict[str, dict[str, Any]]:
        training, steps = self.track.training, self.track.steps
        names = (
            "learning_rate",
            "batch_size",
            "optimizer",
            "weight_decay",
            "max_grad_norm",
            "accumulation",
            "precision",
        )
        executed = {name: getattr(training, name) for name in names}
        executed |= {"seed": seed, "warmup": round(training.warmup * steps)}
        return {
            "start": {"executed": executed},
            "log": {"terms": {"task": 1.0, "distillation": 0.5}},
            "end": {"step": steps, "reads": {"temperature": steps, "alpha": steps}},
        }

    @property
    def arms(self) -> dict[str, list[TrialRecord]]:
        return {arm: [TrialRecord(self.folder / arm / str(seed)) for seed in (0, 1)] for arm in GOOD}

    def rows(self) -> dict[str, tuple[str, str]]:
        """Field → executed value and status."""
        found = evidence.fields(self.plan, self.track, self.arms["proposed"])
        return {row.field: (row.executed, row.status) for row in found}

    def guards(self, same: bool = True, accuracies: dict[str, list[float]] = GOOD) -> dict[str, Guard]:
        rows = evidence.fields(self.plan, self.track, self.arms["proposed"])
        found = evidence.guards(self.plan, self.track, self.arms, rows, same, accuracies, 0.5, self.overlap)
        return {guard.name: guard for guard in found}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def test_honest_trials_match_in_every_field_and_pass_every_guard(records: Records) -> None:
    rows = records.rows()
    assert {status for _, status in rows.values()} == {"MATCH"}
    assert {"training.epochs", "training.warmup", "seeds", "method.temperature", "method.alpha"} <= rows.keys()
    assert len(rows) == 12
    assert {guard.outcome for guard in records.guards().values()} == {"pass"}


@pytest.mark.parametrize(
    ("field", "change", "executed"),
    [
        ("training.learning_rate", {"learning_rate": 0.5}, "0.5"),
        ("training.batch_size", {"batch_size": 1}, "1"),
        ("training.optimizer", {"optimizer": "sgd"}, "sgd"),
        ("training.warmup", {"warmup": 99}, "99"),
        ("seeds", {"seed": 7}, "[7, 1]"),
    ],
)
def test_other_value_than_planned_deviates(records: Records, field: str, change: Any, executed: str) -> None:
    for seed in (0, 1) if field != "seeds" else (0,):
        records.write("proposed", seed, start={"executed": records.trace(seed)["start"]["executed"] | change})
    assert records.rows()[field] == (executed, "DEVIATED")
    guard = records.guards()["executed as planned"]
    assert guard.outcome == "fail" and guard.detail.startswith(f"{field}: planned ")


def test_one_trial_of_many_that_deviates_is_enough(records: Records) -> None:
    executed = records.trace(1)["start"]["executed"] | {"learning_rate": 0.5}
    records.write("proposed", 1, start={"executed": executed})
    assert records.rows()["training.learning_rate"] == ("0.005, 0.5", "DEVIATED")


def test_fewer_steps_than_planned_deviate(records: Records) -> None:
    for seed in (0, 1):
        records.write("proposed", seed, end={"step": 3})
    executed, status = records.rows()["training.epochs"]
    assert "(3 steps)" in executed and status == "DEVIATED"


def test_what_was_not_seen_blocks_the_claim_without_failing_it(records: Records) -> None:
    records.write("proposed", 1, start=None)
    assert records.rows()["training.learning_rate"] == ("not seen", "NOT_SEEN")
    assert records.guards()["executed as planned"].outcome == "not_run"


@pytest.mark.parametrize("reads", [{}, {"temperature": 4}, {"temperature": 4, "alpha": 0}])
def test_setting_that_train_py_never_read_is_not_seen(records: Records, reads: dict[str, int]) -> None:
    records.write("proposed", 0, end={"reads": reads})
    assert records.rows()["method.alpha"] == ("not seen", "NOT_SEEN")


def test_trial_that_failed_fails_a_guard_with_its_reason(records: Records) -> None:
    records.write("student_only", 1, trial={"status": "failed", "error": "ValueError: no"})
    guard = records.guards()["every trial finished"]
    assert (guard.outcome, guard.detail) == ("fail", "student_only: ValueError: no")


def test_prediction_that_failed_fails_the_trial(records: Records) -> None:
    records.write("proposed", 0, test={"status": "failed", "error": "other architecture"})
    assert records.guards()["every trial finished"].detail == "proposed: other architecture"


def test_trial_without_a_report_is_no_success(records: Records) -> None:
    (records.folder / "proposed" / "0" / "trial.json").unlink()
    assert records.guards()["every trial finished"].detail == "proposed: no report"


def test_other_initial_weights_fail(records: Records) -> None:
    records.write("proposed", 1, trial={"initial": "better ones"})
    guard = records.guards()["same initial weights"]
    assert (guard.outcome, guard.detail) == ("fail", "proposed seed 1 started from other weights")


@pytest.mark.parametrize("change", [0, 0.0, None])
def test_weights_that_did_not_move_fail(records: Records, change: float | None) -> None:
    records.write("student_only", 0, test={"change": change})
    assert records.guards()["weights changed"].outcome == "fail"


def test_distillation_term_that_is_zero_fails_and_one_that_is_absent_could_not_be_checked(records: Records) -> None:
    records.write("proposed", 0, log={"terms": {"task": 1.0, "distillation": 0.0}})
    assert records.guards()["distillation term"].outcome == "fail"
    records.write("proposed", 0, log={"terms": {"task": 1.0}})
    assert records.guards()["distillation term"].outcome == "not_run"
    records.write("proposed", 0, log=None)
    assert records.guards()["distillation term"].outcome == "not_run"


def test_teacher_that_changed_fails(records: Records) -> None:
    assert records.guards(same=False)["teacher unchanged"].outcome == "fail"


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.5, "fail"), (0.51, "fail"), (0.6, "pass"), (0.1, "fail")])
def test_arm_must_beat_the_most_frequent_class_beyond_chance(records: Records, accuracy: float, outcome: str) -> None:
    found = records.guards(accuracies=GOOD | {"proposed": [accuracy, accuracy]})["above chance"]
    assert found.outcome == outcome
    assert outcome == "pass" or found.detail == f"proposed: {accuracy:.3f} is not above the majority class, 0.500"


def test_claims_that_disagree_with_the_measurement_are_named(records: Records) -> None:
    for seed, claimed in ((0, 0.99), (1, 0.901)):
        place = records.folder / "proposed" / str(seed) / "trace.jsonl"
        line = json.dumps({"event": "claimed", "metrics": {"eval_accuracy": claimed, "eval_loss": 7.0}})
        place.write_text(place.read_text() + line + "\n")
    assert evidence.disagreements(records.arms["proposed"], [0.9, 0.9], [0, 1]) == (
        "seed 0 claimed eval_accuracy 0.9900, measured on the test rows 0.9000",
    )


def test_hostile_trace_is_evidence_of_nothing(tmp_path):
    lines = (
        {"event": "start", "executed": "all as planned"},
        {"event": "end", "reads": ["temperature"]},
        {"event": "claimed", "metrics": [0.99]},
        {"event": "log", "terms": "distillation"},
    )
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = TrialRecord(tmp_path)
    assert record.executed == record.said("end", "reads") == record.said("log", "terms") == record.claims == {}
    (tmp_path / "trace.jsonl").write_text("no trace\n")
    assert TrialRecord(tmp_path).lines == []


def test_test_row_among_the_others_fails_its_guard(records):
    assert records.guards()["no test row among the others"].outcome == "pass"
    records.overlap = 2
    assert records.guards()["no test row among the others"].outcome == "fail"
