"""Every fault of one agent-written report, planted in the real product and seen refused.

The first paragraph of each docstring is the rule. An honest control stands in the same test, so that a check which
refuses everything fails too.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from agent.config import TASKS, cards
from agent.errors import DataError, EditError, UsageError
from agent.llm.edits import apply
from agent.metrics.arithmetic import Size, batches
from agent.metrics.contradictions import contradictions
from agent.metrics.reported import read
from agent.plan import planner
from agent.plan.defaults import tracks
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.prose import title_problem
from agent.plan.rules import lint
from agent.results.compare import compare
from agent.results.conclude import conclude
from agent.results.evidence import TrialRecord
from agent.results.executed import fields
from agent.results.report import render_report
from agent.results.schema import Guard
from agent.results.score import score
from agent.results.track_record import latency_of
from sandbox.checks.check import check
from sandbox.checks.undefined_names import undefined
from sandbox.workspace import Workspace
from tests.agent.metrics.test_arithmetic import BENCHMARK, RESULTS
from tests.agent.prepared import prepared
from tests.agent.results.test_report import failing_track, measured, plan, section, track_result
from tests.baselines.lab import TEMPLATES, TRAINS
from tests.campaigns.faults.table import COUNT, FAULTS, fault, table, write
from tests.campaigns.faults.world import World, verdict

START = (TEMPLATES / "student_only.py").read_text()
KD = (TEMPLATES / "kd.py").read_text()
PROSE = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
MODELS = {"teacher": {"parameters": 100, "layers": 3}, "student": {"parameters": 10, "layers": 3}}
PASSED = Guard(name="any", where="outside", outcome="pass", detail="")
SNIPPET = """\
class ImprovedKDModel(AutoModelForSequenceClassification):
    def __init__(self, config):
        super().__init__(config)
        self.dropout = nn.Dropout(0.3)

trainer = Trainer(model=model, args=training_args, train_dataset=tokenized_datasets["train"])
"""


def said(source: str) -> str:
    """What the static check says about an edit of the plain train.py."""
    return "\n".join(finding.message for finding in check(source, START))


def before_training(line: str) -> str:
    """Vanilla distillation with one more line."""
    return KD.replace(f"    {TRAINS}", f"    {line}\n    {TRAINS}")


def lints(
    models: dict[str, Any] = MODELS, scale: str = "demo", task: str = "docstrings", **values: Any
) -> dict[str, str]:
    """Field → level and message of what the planner says about a plan."""
    wanted = Options(idea="efficient KD", scale=scale, tasks=(task,), values={"method.name": "kd"} | values)
    made = freeze(planner.draft(wanted), wanted, Proposal.model_validate(PROSE | {"method": "kd"}), {})
    return {
        each.field.removeprefix(f"tracks.{task}."): f"{each.level}: {each.message}"
        for each in lint(made, {task: prepared(models)})
    }


def refused(world: World, arm: str, guard: str, method: str = "kd", **changes: Any) -> Guard:
    """The guard that stops `arm`: it lets the honest arm pass, and with it a claim; with the fault there is none."""
    honest, found = world.guards("kd")[guard], world.guards(arm, method, **changes)[guard]
    assert (honest.outcome, verdict(honest)) == ("pass", "better"), honest
    assert found.outcome in ("fail", "not_run") and verdict(found) != "better", found
    return found


def deviates(world: World, arm: str, field: str) -> str:
    """What was seen in place of the planned value, which the honest arm matches; no claim rests on it."""
    assert world.rows("kd")[field].status == "MATCH"
    found = world.rows(arm)[field]
    assert found.status == "DEVIATED"
    executed = world.guards(arm)["executed as planned"]
    assert verdict(executed) == "invalid"
    return found.executed


# ── the plan and what was executed ──────────────────────────────────────────────────────────────────────────────────


@fault(1, "planned learning rate 0.001, in the code 5e-5, then 3e-5", "static check; planned beside executed")
def test_other_learning_rate_than_planned_deviates(world: World) -> None:
    """Every hyperparameter equals the value read back from the live optimizer."""
    assert deviates(world, "rate", "training.learning_rate") == "0.03"
    assert "`learning_rate` is written as a number" in said(before_training("learning_rate = 5e-5"))


@fault(
    2, "planned 20 epochs, in the code 1, then 2; the result reports 1", "static check; planned beside executed; lint"
)
def test_fewer_steps_than_planned_deviate(world: World, tmp_path: Path) -> None:
    """Completed steps and optimizer updates equal the planned steps."""
    assert deviates(world, "steps", "training.epochs") == "3 steps"
    assert world.said("steps")
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    assert "it stands at epoch 1.0" in "".join(
        f.message for f in contradictions(read(tmp_path / "results.json"), plan())
    )


@fault(3, "batch 32 planned, 16 and 32 in the code, 8 in the evidence", "static check; planned beside executed; lint")
def test_other_batch_size_than_planned_deviates(world: World, tmp_path: Path) -> None:
    """The batch size is read from the live loader; ⌈rows / batch⌉ = steps."""
    assert deviates(world, "batch", "training.batch_size") == "8"
    assert world.said("batch")
    assert list(batches(Size(500, 63))) == [8]


@fault(4, "optimizer Adam planned, AdamW with decay used", "static check; planned beside executed")
def test_other_optimizer_than_planned_deviates(world: World) -> None:
    """Optimizer class and groups are read back."""
    assert deviates(world, "optimizer", "training.optimizer").startswith("adam")
    assert "experiment.optimizer" in "".join(world.said("optimizer"))


@fault(5, "learning rate 0.001 for a pretrained BERT", "planner's lints")
def test_learning_rate_outside_the_family_range_is_warned_about() -> None:
    """The planner names rates outside the range in which a model family is known to train."""
    found = lints(scale="paper", task="ag_news")
    assert found["training.learning_rate"].startswith("warning: 0.001 is outside 1e-05..5e-05")
    assert "training.learning_rate" not in lints(scale="paper", task="ag_news", learning_rate=3e-5)


@fault(6, "500 warm-up steps, more than the whole run has", "planner's lints; static check")
def test_warm_up_beyond_a_fifth_of_the_steps_is_refused() -> None:
    """Warm-up is a share of the true steps, at most 20 %; an absolute number cannot be written."""
    assert lints(warmup=0.5)["training.warmup"].startswith("refusal: 50% of ")
    assert "training.warmup" not in lints(warmup=0.2)
    assert "`warmup_steps` is written as a number" in said(before_training("warmup_steps = 500"))


# ── distillation ────────────────────────────────────────────────────────────────────────────────────────────────────


@fault(
    7,
    "no teacher, temperature, weight or divergence anywhere",
    "guards `distillation term`, `teacher feeds the training`",
)
def test_distillation_without_a_teacher_makes_no_claim(world: World) -> None:
    """A run called distillation shows a distillation term at each step, and weights that depend on the teacher."""
    refused(world, "student_only", "distillation term")
    assert world.rows("student_only")["method.temperature"].status == "NOT_SEEN"
    assert verdict(world.guards("student_only")["teacher feeds the training"]) != "better"


@fault(8, '"last 3 layers" never implemented', "planned beside executed; guard `selected layers feed the training`")
def test_layers_that_nothing_matches_make_no_claim(world: World) -> None:
    """Settings of the layer term are read at each seed, and shuffling a selected layer changes the weights."""
    honest, without = world.rows("kd_selective", "kd_selective"), world.rows("kd", "kd_selective")
    for field in ("method.layers", "method.beta", "method.layer_map"):
        assert (honest[field].status, without[field].status) == ("MATCH", "NOT_SEEN")
    assert verdict(world.guards("kd", "kd_selective")["selected layers feed the training"]) != "better"


@fault(9, "the student is the teacher", "planner's lints")
def test_student_as_large_as_its_teacher_is_refused() -> None:
    """The student has fewer parameters than its teacher."""
    twins = {"teacher": MODELS["teacher"], "student": MODELS["teacher"]}
    assert lints(twins)["student"].startswith("refusal: the student has 100 parameters, its teacher 100")
    assert "student" not in lints()


@fault(10, "CIFAR-10, ResNet-50 and MobileNetV2 planned and absent", "conclusion")
def test_planned_track_without_a_result_is_stated_and_claims_nothing() -> None:
    """Each planned track has a result or a stated failure."""
    both = plan(tracks=("digits", "photos"))
    found = conclude(measured(plan=both))
    assert {f.track: f.verdict for f in found.findings} == {"digits": "better", "photos": "inconclusive"}
    assert found.verdict == "inconclusive"
    assert "| photos | inconclusive | not measured | The comparison with vanilla" in render_report(found)


@fault(11, '"minimal dataset" of no size; 500 rows evaluated without a word', "plan; report; lint")
def test_sizes_are_in_the_plan_and_every_difference_shows_its_rows(tmp_path: Path) -> None:
    """Sizes, content hash and selection seed are in the plan; numbers stand with n and interval."""
    task = plan().tracks[0].task.model_dump()
    for name in ("train_rows", "transfer_rows", "dev_rows", "test_rows", "hash"):
        with pytest.raises(ValidationError, match=name):
            type(plan().tracks[0].task).model_validate({k: v for k, v in task.items() if k != name})
    report = render_report(conclude(measured()))
    assert "n = 6 seeds × 400 examples" in section(report, "Benchmark Results")
    assert "| train | 100 |" in report
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    assert "few rows" in {finding.rule for finding in contradictions(read(tmp_path / "results.json"))}


@fault(12, "accuracy alone, of six planned metrics", "report")
def test_every_planned_metric_has_a_value_or_says_that_it_was_not_measured() -> None:
    """The metrics of the plan are those of the results; averages are named."""
    report = render_report(conclude(measured()))
    assert "every class has the same weight" in report
    results = section(report, "Results")
    for metric in ("accuracy", "precision", "recall", "f1"):
        assert f"| {metric} |" in results
    assert "| proposed | 1.20 ms | 1.90 ms |" in results and "0.08 MB" in report
    lost = render_report(conclude(measured(tracks=(failing_track(),), status="partial", status_reason="time")))
    assert "| proposed | not measured | not measured |" in lost
    with pytest.raises(Exception, match="f1"):
        arm, *others = track_result().arms
        bare = arm.model_copy(update={"summaries": {k: v for k, v in arm.summaries.items() if k != "f1"}})
        broken = track_result().model_copy(update={"arms": (bare, *others)})
        render_report(conclude(measured()).model_copy(update={"tracks": (broken,)}))


# ── data and benchmark ──────────────────────────────────────────────────────────────────────────────────────────────


@fault(13, "one set for everything, no validation", "guard `no test row among the others`; trials see no test file")
def test_test_rows_are_apart_from_those_that_train_and_choose(world: World) -> None:
    """Rows that choose are not rows that are reported: contents are disjoint, and a trial has no test file."""
    refused(world, "kd", "no test row among the others", overlap=1)
    assert not [path for path in (world.lab.data / "seen").rglob("*") if "test" in path.name]


@fault(14, "benchmark on another data set with other labels", "comparison; lint")
def test_arms_on_different_examples_are_not_compared(tmp_path: Path) -> None:
    """A difference is computed over the same examples only."""
    labels = np.arange(40) % 4
    ours, theirs = score(np.eye(4)[labels], labels), score(np.eye(4)[labels[::-1]], labels[::-1])
    assert compare("proposed", "vanilla_kd", [ours] * 2, [ours] * 2, 10)
    with pytest.raises(DataError, match="different test examples"):
        compare("proposed", "vanilla_kd", [ours] * 2, [theirs] * 2, 10)
    for name, metrics in (("results", RESULTS), ("benchmark", BENCHMARK)):
        (tmp_path / f"{name}.json").write_text(json.dumps(metrics))
    both = [each for name in ("results", "benchmark") for each in read(tmp_path / f"{name}.json")]
    assert "compare" in {finding.rule for finding in contradictions(both)}


@fault(15, "the benchmark's model was never trained", "guard `weights changed`; lint")
def test_arm_that_did_not_train_invalidates_the_comparison(world: World) -> None:
    """Weights of every arm have left those that its seed gives."""
    assert refused(world, "untrained", "weights changed").outcome == "fail"
    arms = world.evidence("kd").arms | {"vanilla_kd": [world.record("untrained")]}
    assert refused(world, "kd", "weights changed", arms=arms).outcome == "fail"


@fault(16, "a benchmark at chance that nobody noticed", "guard `above chance`; lint")
def test_arm_at_chance_invalidates_the_comparison(world: World, tmp_path: Path) -> None:
    """Exact binomial test against the most frequent label; loss against ln C."""
    good = {"student_only": [0.9], "vanilla_kd": [0.9], "proposed": [0.9]}
    outcomes = [
        world.guards("kd", accuracies=accuracies)["above chance"] for accuracies in (good, good | {"vanilla_kd": [0.4]})
    ]
    assert [verdict(guard) for guard in outcomes] == ["better", "invalid"]
    (tmp_path / "benchmark.json").write_text(json.dumps(BENCHMARK))
    assert "untrained" in {finding.rule for finding in contradictions(read(tmp_path / "benchmark.json"))}


# ── the code ────────────────────────────────────────────────────────────────────────────────────────────────────────


@fault(17, "numbers from neither version of the code", "the run's repository")
def test_what_runs_is_the_commit_whatever_lies_beside_it(tmp_path: Path) -> None:
    """A trial runs the file of its commit, exported again; the report shows that commit's file."""
    workspace = Workspace.create(tmp_path / "repository")
    commit = workspace.commit("start", KD, "as planned")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "train.py").write_text("another = version\n")
    (tmp_path / "repository" / "train.py").write_text("another = version\n")
    assert workspace.export(commit.id, tmp_path / "job").read_text() == KD == workspace.read(commit.id)


@fault(18, "updated code never run, yet claimed as an improvement", "conclusion")
def test_edit_without_a_completed_run_is_no_result() -> None:
    """A change without a completed run is never a result."""
    track = track_result()
    unrun = track.model_copy(update={"arms": track.arms[1:], "comparisons": ()})
    found = conclude(measured(tracks=(unrun,), status="failed", status_reason="no attempt trained"))
    assert found.verdict == "inconclusive"
    assert "This run is failed" in render_report(found)
    assert conclude(measured(status="partial", status_reason="time")).verdict == "inconclusive"
    assert conclude(measured()).verdict == "better"


@fault(19, "listings of fragments: model, data and metrics undefined", "edits; static check")
def test_listing_is_the_whole_file_that_ran() -> None:
    """An edit is the whole file, or applies exactly to it; the report shows that file whole."""
    with pytest.raises(EditError, match=r"not a whole train\.py"):
        apply(f"```python\n{SNIPPET}```", START)
    assert "no top-level function `train`" in said(SNIPPET)
    assert apply(f"```python\n{KD}```", START) == KD
    report = render_report(conclude(measured(code=measured().code.model_copy(update={"updated": KD}))))
    assert KD.rstrip() in report


@fault(20, "`nn` never imported", "static check, by pyflakes")
def test_undefined_name_is_found_before_anything_runs() -> None:
    """Names that are defined nowhere stop an edit before it runs."""
    assert "nn" in {name for _, name in undefined(SNIPPET)}
    assert list(undefined(KD)) == []
    assert "`nn`" in said(before_training("nn.Linear(1, 1)"))


def fails(world: World, arm: str, says: str) -> None:
    """The trial of `arm` ends with that error, whatever its length: a pilot of a few steps stops it."""
    assert says in world.record(arm).failure
    assert refused(world, arm, "every trial finished").outcome == "fail"


@fault(
    21,
    "a class derived from an Auto class, which cannot be constructed",
    "pilot; type of the returned model; planned beside executed",
)
def test_model_of_another_class_is_refused(world: World) -> None:
    """What comes back is the planned class with the planned number of labels."""
    fails(world, "derived", "OSError: Derived is designed to be instantiated using")
    fails(world, "plain", "returned BertForSequenceClassification, not the trained DistilBertForSequenceClassification")
    assert world.rows("kd")["student"].status == "MATCH"


@fault(22, "a two-way head for four labels", "pilot; strict loading; planned beside executed")
def test_head_with_too_few_labels_is_refused(world: World) -> None:
    """Outputs of the model, label names and labels agree in number."""
    fails(world, "two_way", "IndexError: Target 2 is out of bounds")
    two = world.evidence("kd", answers={"dev": (18, 3), "test": (24, 2)})
    assert {row.field: row.status for row in fields(two)}["task.labels"] == "DEVIATED"


@fault(23, "forward returns a bare tensor and ignores the labels", "pilot")
def test_loss_that_is_no_number_is_refused(world: World) -> None:
    """A few real steps come before any long run: the loss is a scalar, finite, and moves the weights."""
    fails(world, "bare", "grad can be implicitly created only for scalar outputs")


@fault(24, "`self.bert` and token types on DistilBERT", "pilot on every track")
def test_code_for_another_architecture_is_refused(world: World) -> None:
    """The same few steps on every track's own architecture."""
    fails(world, "bert", "has no attribute 'bert'")


@fault(
    25,
    "a second Trainer replaces the first; no train(), no evaluate()",
    "static check; planned beside executed; guard `weights changed`",
)
def test_file_that_never_trains_makes_no_claim(world: World) -> None:
    """Start and end of training are on the trace, in this order."""
    assert refused(world, "untrained", "same budget in every arm").outcome == "not_run"
    assert [line["event"] for line in world.record("kd").lines if line["event"] in ("start", "end")] == ["start", "end"]
    assert world.record("untrained").line("start") == {}


@fault(26, "dropout 0.3 added, not in the plan", "planned beside executed")
def test_dropout_that_was_not_planned_deviates(world: World) -> None:
    """Architecture fields are read back like any other."""
    assert not [row for row in world.rows("kd").values() if row.status == "DEVIATED"]
    assert [row for row in world.rows("dropout").values() if row.status == "DEVIATED"]


# ── what is claimed ─────────────────────────────────────────────────────────────────────────────────────────────────


@fault(27, 'comments promise "better convergence" and "faster"', "verdict by rule; report")
def test_promise_in_a_comment_is_no_result() -> None:
    """Comparative words rest on a measured pair: same data, enough seeds, an interval."""
    code = measured().code.model_copy(update={"updated": "x = 1  # faster, with better convergence\n"})
    few = conclude(measured(plan=plan(seeds=2), tracks=(track_result(seeds=2),), code=code))
    assert few.verdict == "inconclusive"
    report = render_report(few)
    words = report.replace(code.updated, "").split("## Code Changes")
    assert "better convergence" not in words[0] + section(report, "Conclusion")
    assert "their author's claims" in section(report, "Code Changes")


@fault(28, "one run, no seed", "planner's lints; verdict by rule")
def test_one_seed_claims_nothing() -> None:
    """Too few seeds for the level: warned before, no ranking after."""
    assert lints(seeds=[0])["seeds"].startswith("warning: 1 seed cannot reach the level")
    assert "seeds" not in lints(seeds=[0, 1, 2, 3, 4, 5])
    one = conclude(measured(plan=plan(seeds=1), tracks=(track_result(seeds=1),)))
    assert one.verdict == "inconclusive" and "(one seed)" in render_report(one)


@fault(29, "two listings and no difference between them", "the run's repository; report")
def test_difference_applies_to_the_original_and_gives_the_updated_file(tmp_path: Path) -> None:
    """The report's diff is made from the two commits, and applies cleanly."""
    workspace = Workspace.create(tmp_path / "repository")
    start = workspace.commit("start", START, "start")
    updated = workspace.commit("attempt-1", KD, "attempt", parent=start.id)
    difference = workspace.diff(start.id, updated.id)
    (tmp_path / "train.py").write_text(START)
    done = subprocess.run(["git", "apply", "-"], input=difference, text=True, cwd=tmp_path, capture_output=True)
    assert (done.returncode, (tmp_path / "train.py").read_text()) == (0, KD), done.stderr
    report = render_report(conclude(measured(code=measured().code.model_copy(update={"diff": difference}))))
    assert f"```diff\n{difference.rstrip()}\n```" in report


@fault(30, "a conclusion about something else, without a number or a hypothesis", "conclusion")
def test_conclusion_is_filled_from_computed_fields() -> None:
    """Hypothesis, arms, difference with interval and verdict, by rule."""
    won = conclude(measured())
    assert won.conclusion.startswith(
        "The hypothesis is supported, as tested by accuracy of proposed against vanilla_kd."
    )
    text = section(render_report(won), "Conclusion")
    assert "points [" in text and "n=6 seeds × 400 examples" in text
    failed = conclude(measured(tracks=(track_result(guards=(PASSED.model_copy(update={"outcome": "fail"}),)),)))
    assert failed.conclusion.startswith("Nothing can be concluded about the hypothesis")


@fault(31, 'title cut off ("Small Mo"), numbered "2." as in a list', "proposal; planner's lints")
@pytest.mark.parametrize(
    "title",
    ["Efficient KD for Small Mo", "2. Efficient KD", "b) Efficient KD", "- Efficient KD", "Efficient KD for", "KD…"],
)
def test_broken_title_is_refused(title: str) -> None:
    """A title is whole and does not number itself."""
    said = PROSE | {"objective": "Efficient KD for small models.", "method": "kd"}
    assert Proposal.model_validate(said | {"title": "Efficient KD for small models"})
    with pytest.raises(ValidationError, match="title"):
        Proposal.model_validate(said | {"title": title})


@pytest.mark.parametrize("title", ["KD with soft label", "A student of its teacher", "ResNet-50 in miniature"])
def test_whole_title_is_left_alone(title: str) -> None:
    assert title_problem(title, "soft labels from its teachers") == ""


@fault(32, "ids of data sets that do not exist", "planner; task cards")
def test_unknown_data_set_is_refused_and_known_ones_are_pinned() -> None:
    """Data are found before the plan is frozen; a hub id stands with its revision."""
    for name in ("huggingface/ag_news", "huggingface/cifar10"):
        with pytest.raises(UsageError, match="unknown task"):
            tracks(Options(idea="kd", tasks=(name,)))
    hubs = [card for card in cards(TASKS).values() if not card["embedded"]]
    assert hubs and all(len(card["revision"]) == 40 and "/" in card["hub"] for card in hubs)


@fault(33, "no score of the teacher: neither gap nor retention", "plan; harness; report")
def test_plan_without_its_reference_arms_is_refused() -> None:
    """Teacher, student alone and vanilla distillation are always measured, with equal steps."""
    made = plan().model_dump(by_alias=True)
    for arms in ((), ("vanilla_kd",), ("student_only",)):
        with pytest.raises(ValidationError, match="reference_arms lack"):
            Plan.model_validate(made | {"reference_arms": arms})
    results = section(render_report(conclude(measured())), "Results")
    assert "| teacher | | 1 | 9" in results and "| student_only |" in results
    assert "teacher minus plain student" in conclude(measured()).findings[0].gap


@fault(34, "inference time planned and never measured", "report; prediction")
def test_latency_has_a_protocol_or_is_called_not_measured(tmp_path: Path) -> None:
    """Device, threads, batch, warm-up, at least 200 runs, p50 and p95; or "not measured"."""
    from baselines.processes.predict import TIMED, WARM_UP

    said = {"inference_ms": 1.0, "inference_ms_p95": 2.0, "device": "cpu", "threads": 1}
    (tmp_path / "test.json").write_text(json.dumps(said))
    found = latency_of([TrialRecord(tmp_path)])
    assert found and TIMED >= 200
    assert found.protocol == f"cpu, 1 thread(s), one row at a time, {WARM_UP} warm-up and {TIMED} timed runs"
    assert latency_of([TrialRecord(tmp_path / "nothing")]) is None
    lost = conclude(measured(tracks=(failing_track(),), status="partial", status_reason="time"))
    assert "| proposed | not measured | not measured |" in render_report(lost)
    assert "digits: the latency of proposed was not measured." in lost.limitations


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_fault_is_forgotten() -> None:
    assert {each.number for each in FAULTS} == set(range(1, COUNT + 1))
    for each in FAULTS:
        assert each.rule and each.refused and callable(globals()[each.test])


def test_table_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults -->\nold\n<!-- /faults -->\nafter\n")
    write(page), write(page)
    assert page.read_text() == f"before\n<!-- faults -->\n{table()}<!-- /faults -->\nafter\n"
    assert table().count("\n| ") == COUNT + 2
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no place for the table"):
        write(page)
