"""Every guard's three outcomes, from records as trials leave them."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.plan.plan import Training
from agent.results import guards as guards_module
from agent.results.compare import decide
from agent.results.evidence import TrialRecord, disagreements
from agent.results.guards import CheckResult, guards, reach
from tests.agent.records import Records


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def fails(records: Records, name: str) -> str:
    """The detail of a guard that must fail, and of no other but those that rest on the same fact."""
    guard = records.guards[name]
    assert guard.outcome == "fail", guard
    return guard.detail


@pytest.mark.parametrize("method", ["kd", "kd_selective", "assistant"])
def test_honest_trials_pass_every_guard(tmp_path: Path, method: str) -> None:
    found = Records(tmp_path, method).guards
    assert {guard.outcome for guard in found.values()} == {"pass"}, found
    assert len(found) == 15 + (method == "kd_selective")
    assert {guard.where for guard in found.values()} == {"in-process", "outside"}


def test_field_that_deviates_fails_and_one_that_was_not_seen_blocks(records: Records) -> None:
    records.write("proposed", 1, start=None)
    assert records.guards["executed as planned"].outcome == "not_run"
    start = records.trace(1, records.track.training, records.track.steps)["start"]["executed"]
    records.write("proposed", 1, start={"executed": start | {"learning_rate": 0.5}})
    assert fails(records, "executed as planned").startswith("training.learning_rate: planned 0.005, seen ")
    records.facts = {"data_same": False}
    assert "task.hash" in fails(records, "data and models as planned")


def test_trial_that_failed_is_named_with_its_reason(records: Records) -> None:
    records.write("student_only", 1, trial={"status": "failed", "error": "ValueError: no"})
    assert fails(records, "every trial finished") == "student_only: ValueError: no"


def test_prediction_that_failed_fails_the_trial(records: Records) -> None:
    records.write("proposed", 0, test={"status": "failed", "error": "other architecture"})
    assert fails(records, "every trial finished") == "proposed: other architecture"


def test_trial_without_a_report_is_no_success(records: Records) -> None:
    (records.folder / "proposed" / "0" / "trial.json").unlink()
    assert fails(records, "every trial finished") == "proposed: no report"


def test_reference_arm_of_another_length_fails(records: Records) -> None:
    records.write("student_only", 0, end={"step": 0, "updates": 0})
    assert fails(records, "same budget in every arm").startswith("student_only seed 0 took 0 steps with 0 updates")
    records.write("student_only", 0, end=None)
    assert records.guards["same budget in every arm"].outcome == "not_run"


def test_other_weights_at_the_start_or_at_the_first_step_fail(records: Records) -> None:
    records.write("proposed", 1, trial={"initial": "better ones"})
    assert fails(records, "same initial weights") == "proposed seed 1 started from different weights"
    records.write("proposed", 1, start={"weights": "the teacher's"})
    assert fails(records, "same initial weights") == "proposed seed 1 had different weights at the first step"
    records.write("proposed", 1, start=None)
    assert records.guards["same initial weights"].outcome == "not_run"


def test_weights_that_the_trainer_did_not_end_with_fail(records: Records) -> None:
    for end, said in (
        ({"weights": "others"}, "handed in weights that differ"),
        ({"touched": 3}, "3 times between two updates"),
    ):
        records.write("proposed", 0, end=end)
        assert said in fails(records, "weights are the trainer's")
    records.write("proposed", 0, end=None)
    assert records.guards["weights are the trainer's"].outcome == "not_run"


@pytest.mark.parametrize("change", [0, 0.0, None])
def test_weights_that_did_not_move_fail(records: Records, change: float | None) -> None:
    records.write("student_only", 0, test={"change": change})
    assert "student_only seed 0" in fails(records, "weights changed")


def test_weights_that_the_planned_steps_cannot_reach_fail(records: Records) -> None:
    records.write("proposed", 0, test={"furthest": 50.0})
    assert "proposed seed 0 moved its weights by 50" in fails(records, "weights within reach")


def test_loss_that_did_not_fall_fails_and_one_that_was_not_logged_blocks(records: Records) -> None:
    records.write("student_only", 0, log1={"loss": 2.5})
    assert "student_only seed 0: the loss was 2 at first and 2.5 at last" in fails(records, "loss fell")
    records.write("student_only", 0, log1=None)
    assert records.guards["loss fell"].outcome == "not_run"


def test_distillation_term_at_every_step_and_never_zero(records: Records) -> None:
    steps = records.track.steps
    for count, zeros, said in ((steps - 1, 0, f"{steps - 1} times in {steps} steps"), (steps, 2, "zero 2 times")):
        records.write("proposed", 0, end={"terms": {"distillation": {"count": count, "zeros": zeros}}})
        assert said in fails(records, "distillation term")
    records.write("proposed", 0, end={"terms": {"task": {"count": steps, "zeros": 0}}})
    assert records.guards["distillation term"].outcome == "not_run"


def test_teacher_that_makes_no_difference_fails_and_without_a_probe_nothing_is_said(records: Records) -> None:
    records.probe({"logits": 0.0})
    assert "the teacher makes no difference" in fails(records, "teacher feeds the training")
    records.probe({"logits": 0.5}, again=0.1)  # no more than two equal runs differ
    assert records.guards["teacher feeds the training"].outcome == "fail"
    (records.folder / "probe.json").unlink()
    assert records.guards["teacher feeds the training"].outcome == "not_run"


def test_effect_that_is_next_to_nothing_is_no_effect(records: Records) -> None:
    records.probe({"logits": 1e-4})  # the steps went 1.0
    assert records.guards["teacher feeds the training"].outcome == "fail"


@pytest.mark.parametrize(
    ("logits", "outcome", "said"),
    [
        ({"reached": 0}, "not_run", "seed 0: the teacher's logits are detached"),
        ({"reached": 1}, "fail", "seed 0: the teacher's logits were used in 1 of "),
        ({"least": 0.0}, "fail", "practically unused"),
        ({"least": 1e-9}, "fail", "practically unused"),
        ({"least": -1.0}, "fail", "practically unused"),  # not finite
    ],
)
def test_teacher_must_be_used_in_every_batch(records: Records, logits: Any, outcome: str, said: str) -> None:
    end = records.trace(0, records.track.training, records.track.steps)["end"]
    changed = {"logits": end["gradients"]["logits"] | logits}
    records.write("proposed", 0, end={"gradients": end["gradients"] | changed})
    guard = records.guards["teacher used at every step"]
    assert guard.outcome == outcome and said in guard.detail


def test_features_must_be_used_where_they_are_watched(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective")
    end = records.trace(0, records.track.training, records.track.steps)["end"]
    for reached, outcome in ((0, "not_run"), (1, "fail")):
        changed = {"features": end["gradients"]["features"] | {"reached": reached}}
        records.write("proposed", 0, end={"gradients": end["gradients"] | changed})
        assert records.guards["teacher used at every step"].outcome == outcome


def test_selected_layer_that_makes_no_difference_fails(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective")
    records.probe({"logits": 0.1, "features-1": 0.1, "features-2": 0.0, "features-3": 0.1})
    assert (
        fails(records, "selected layers feed the training") == "shuffling teacher layer 2 over the rows changes nothing"
    )
    (records.folder / "probe.json").unlink()
    assert records.guards["selected layers feed the training"].outcome == "not_run"


def test_layers_chosen_by_their_scores_pass_with_them_and_say_nothing_without(tmp_path: Path) -> None:
    records = Records(tmp_path, "kd_selective", layer_map="critical")
    assert records.guards["selected layers feed the training"].outcome == "not_run"
    records.facts = {"scores": (0.25, -0.5, 1.0)}
    found = records.guards["selected layers feed the training"]
    assert found.outcome == "pass"
    assert found.detail.endswith("without each its loss on dev rows changes by 1: +0.250, 2: -0.500, 3: +1.000 nats")


def test_teacher_that_changed_and_test_rows_among_the_others_fail(records: Records) -> None:
    records.facts = {"teacher_same": False, "overlap": 2}
    assert "the hash of its weights file changed" in fails(records, "teacher unchanged")
    assert fails(records, "no test row among the others").startswith("2 training")


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.5, "fail"), (0.51, "fail"), (0.6, "pass"), (0.1, "fail")])
def test_arm_must_beat_the_most_frequent_class_beyond_chance(records: Records, accuracy: float, outcome: str) -> None:
    records.facts = {"accuracies": {"student_only": [0.8, 0.8], "proposed": [accuracy, accuracy]}}
    found = records.guards["above chance"]
    assert found.outcome == outcome
    assert outcome == "pass" or found.detail == f"proposed: {accuracy:.3f} is not above the majority class, 0.500"


# ── faults in the guards themselves ─────────────────────────────────────────────────────────────────────────────────

BROKEN: dict[str, Any] = {
    "arms": {"proposed": None},
    "accuracies": {"proposed": ["high"]},
    "majority": "half",
    "overlap": "none",
    "models": {},
    "answers": None,
    "teacher_prediction": None,
}


@pytest.mark.parametrize("name", BROKEN)
def test_guard_whose_input_is_broken_has_not_run_or_fails(records: Records, name: str) -> None:
    rows = tuple(records.rows.values())
    honest = records.guards
    records.facts = {name: BROKEN[name]}
    found = {guard.name: guard for guard in guards(records.evidence, rows)}
    assert found.keys() == honest.keys()
    changed = [guard for guard in found.values() if guard.outcome != "pass"]
    if name in ("arms", "accuracies", "majority"):
        assert changed
        assert all(g.outcome == "fail" or "the check broke" in g.detail or "not seen" in g.detail for g in changed)


def test_check_that_raises_has_not_run(records: Records) -> None:
    def breaks() -> CheckResult:
        raise RuntimeError("no idea")

    guard = guards_module._run("any", "outside", breaks)
    assert (guard.outcome, guard.detail) == ("not_run", "the check broke: RuntimeError: no idea")


def test_probe_that_stalls_a_reader_is_never_a_pass(records: Records) -> None:
    import os

    (records.folder / "probe.json").unlink()
    os.mkfifo(records.folder / "probe.json")
    assert records.guards["teacher feeds the training"].outcome == "not_run"


@pytest.mark.parametrize("removed", ["trial.json", "test.json", "trace.jsonl"])
@pytest.mark.parametrize("arm", ["student_only", "proposed"])
def test_missing_file_never_improves_an_outcome(records: Records, arm: str, removed: str) -> None:
    (records.folder / arm / "0" / removed).unlink()
    assert {guard.outcome for guard in records.guards.values()} & {"fail", "not_run"}


def test_no_guards_at_all_is_no_claim() -> None:
    from tests.agent.results.test_compare import measured

    judged = decide(measured(6), (), 0.005, 0.05)
    assert judged.verdict == "inconclusive" and "No check" in judged.reason


# ── how far a weight can move ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("gradients", ["constant", "growing", "one spike", "random"])
def test_no_gradient_moves_a_weight_out_of_reach(optimizer: str, gradients: str) -> None:
    """The planned optimizer itself, on the gradients that move it furthest."""
    import torch
    from transformers import get_scheduler

    steps = 40
    plan = Training(learning_rate=0.01, batch_size=8, epochs=1, optimizer=optimizer, warmup=0.1, weight_decay=0.1)  # type: ignore[arg-type]
    weight = torch.nn.Parameter(torch.full((3,), 0.5))
    groups = [{"params": [weight], "weight_decay": plan.weight_decay}]
    made: Any = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(optimizer)
    live = made(groups, lr=0.01) if made else torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    schedule = get_scheduler("linear", live, 4, steps)
    start, generator = weight.detach().clone(), torch.Generator().manual_seed(0)
    for step in range(steps):
        assert schedule.get_last_lr()[0] == pytest.approx(plan.rates(steps)[step])
        values = {"constant": 1.0, "growing": (0.999 / 0.9) ** step, "one spike": 1e3 if step == 4 else 1e-4}
        noise = torch.randn(3, generator=generator)
        weight.grad = noise if gradients == "random" else -torch.full((3,), values[gradients])
        torch.nn.utils.clip_grad_norm_([weight], plan.max_grad_norm)
        live.step()
        schedule.step()
    moves = (weight - start).detach()
    said = {"change": float(moves.norm()), "furthest": float(moves.abs().max())}
    moved, most = reach(plan, steps, said | {"size": float(start.norm()), "largest": 0.5})
    assert 0 < moved <= most
    assert gradients != "constant" or moved > 0.3 * most * (0.05 if optimizer == "sgd" else 1)


# ── what a trial claims ─────────────────────────────────────────────────────────────────────────────────────────────


def test_claims_that_disagree_with_the_measurement_are_named(records: Records) -> None:
    for seed, claimed in ((0, 0.99), (1, 0.901)):
        place = records.folder / "proposed" / str(seed) / "trace.jsonl"
        line = json.dumps({"event": "claimed", "metrics": {"eval_accuracy": claimed, "eval_loss": 7.0}})
        place.write_text(place.read_text() + line + "\n")
    assert disagreements(records.evidence.proposed, [0.9, 0.9], [0, 1]) == (
        "seed 0 claimed eval_accuracy 0.9900, measured on the test rows 0.9000",
    )


def test_hostile_trace_is_evidence_of_nothing(tmp_path: Path) -> None:
    lines = (
        {"event": "start", "executed": "all as planned"},
        {"event": "end", "reads": ["temperature"], "executed": 3},
        {"event": "claimed", "metrics": [0.99]},
        {"event": "log", "loss": "low"},
    )
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = TrialRecord(tmp_path)
    assert record.executed("learning_rate") is None
    assert record.said("end", "reads") == record.claims == {} and record.losses() == []
    (tmp_path / "trace.jsonl").write_text("no trace\n")
    assert TrialRecord(tmp_path).lines == []


def test_teacher_is_due_only_after_a_planned_head_start(tmp_path: Path) -> None:
    records = Records(tmp_path, "dpkd")
    end = records.trace(0, records.track.training, records.track.steps)["end"]
    due = records.track.steps - round(0.5 * records.track.steps)
    for count, outcome in ((due, "pass"), (1, "fail")):
        for seed in (0, 1):
            used = end["gradients"] | {"logits": end["gradients"]["logits"] | {"reached": count}}
            terms = {"distillation": {"count": count, "zeros": 0}}
            records.write("proposed", seed, end={"terms": terms, "gradients": used})
        for name in ("distillation term", "teacher used at every step"):
            assert records.guards[name].outcome == outcome, records.guards[name].detail


@pytest.mark.parametrize(("last", "outcome"), [(1.0, "pass"), (3.0, "fail")])
def test_loss_of_a_head_start_is_not_held_against_the_loss_after_it(tmp_path: Path, last: float, outcome: str) -> None:
    records = Records(tmp_path, "dpkd")
    for seed in (0, 1):
        half, end = {"step": records.track.steps // 2 + 1, "loss": 2.0}, {"step": records.track.steps, "loss": last}
        records.write("proposed", seed, log0={"step": 1, "loss": 0.1}, log1=half, log2=end)
    assert records.guards["loss fell"].outcome == outcome
    records.write("student_only", 0, log1={"loss": 3.0})
    assert "student_only seed 0" in fails(records, "loss fell")


def test_teacher_that_only_chooses_texts_is_held_to_what_it_chose(tmp_path: Path) -> None:
    records = Records(tmp_path, "miniplm", "docstrings_text")
    found = records.guards
    assert {guard.outcome for guard in found.values()} == {"pass"}, found
    assert "likelihoods shuffled" in found["teacher feeds the training"].detail
    assert not {"distillation term", "teacher used at every step"} & found.keys()
    records.probe({"likelihoods": 0.0})
    assert fails(records, "teacher feeds the training").endswith("the teacher makes no difference")
    records.probe({"logits": 0.1})
    assert records.guards["teacher feeds the training"].outcome == "not_run"
