"""What digits give away: numbers made from whole evaluations, the same numbers altered, and the two that taught us."""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.errors import DataError
from agent.metrics.arithmetic import Printed, Size, batches, divisor, interval, rights
from agent.metrics.contradictions import Contradiction, contradictions, facts, splits
from agent.metrics.reported import Evaluation, read
from agent.plan import planner
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal

RESULTS = {
    "eval_loss": 0.4323,
    "eval_accuracy": 0.856,
    "eval_runtime": 3.8693,
    "eval_samples_per_second": 129.221,
    "eval_steps_per_second": 16.282,
    "epoch": 1.0,
}
BENCHMARK = {
    "eval_loss": 0.6988,
    "eval_accuracy": 0.4873853211,
    "eval_runtime": 6.2944,
    "eval_samples_per_second": 138.536,
    "eval_steps_per_second": 17.317,
}


@pytest.fixture
def reported(tmp_path: Path) -> Any:
    """Evaluations from dictionaries, each in a file of its own, called a.json, b.json and so on."""

    def write(*dictionaries: Any) -> list[Evaluation]:
        found = []
        for name, metrics in zip("abc", dictionaries, strict=False):
            path = tmp_path / f"{name}.json"
            path.write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))
            found += read(path)
        return found

    return write


def plan(**values: Any) -> Plan:
    """The plan that both dictionaries were said to follow: paper scale, rate 0.001, batch 32, 20 epochs."""
    wanted = Options(idea="efficient KD for small models", scale="paper", values=values)
    prose = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
    made = freeze(planner.draft(wanted), wanted, Proposal.model_validate(prose | {"method": "kd"}), {})
    rows = {"ag_news": (7600, 4), "cifar10": (10_000, 10)}
    tracks = [
        track.model_copy(
            update={"task": track.task.model_copy(update={"test_rows": n, "labels": tuple("abcdefghij"[:c])})}
        )
        for track in made.tracks
        for n, c in [rows[track.name]]
    ]
    return made.model_copy(update={"tracks": tuple(tracks)})


def errors(found: list[Contradiction]) -> list[str]:
    return [finding.rule for finding in found if finding.level == "E"]


# ── the two dictionaries ────────────────────────────────────────────────────────────────────────────────────────────


def test_results_were_500_rows_in_batches_of_8_of_which_428_were_right(reported: Any) -> None:
    [each] = reported(RESULTS)
    assert (each.size, each.steps, each.batches, list(each.right)) == (500, (63,), (8,), [428])
    assert each.interval == pytest.approx((0.8221, 0.8856), abs=1e-4)
    assert errors(contradictions([each])) == []


def test_benchmark_was_the_validation_split_of_sst2_under_an_untrained_head(reported: Any) -> None:
    [each] = reported(BENCHMARK)
    assert (each.size, each.steps, each.batches, list(each.right)) == (872, (109,), (8,), [425])
    assert each.interval == pytest.approx((0.454, 0.521), abs=1e-3)
    said = dict(facts(each))
    assert said["size of"] == "GLUE SST-2 validation"
    assert said["fraction"].endswith("a multiple of 872 rows; of the known splits that is GLUE SST-2 validation")
    found = {finding.rule: finding for finding in contradictions([each])}
    assert errors(list(found.values())) == ["untrained"]
    for part in ("loss 0.6988", "ln 2 = 0.6931", "425 of 872 right", "45.4% to 52.1%", "GLUE SST-2", "50.9%"):
        assert part in found["untrained"].message
    assert "never trained" in found["epoch"].message


def test_the_two_cannot_be_compared(reported: Any) -> None:
    found = contradictions(reported(RESULTS, BENCHMARK))
    assert [f.message for f in found if f.rule == "compare"] == [
        "cannot be compared: 500 and 872 rows are two different tests, so the difference of +36.9 points means nothing"
    ]


@pytest.mark.parametrize(
    ("metrics", "says"),
    [(RESULTS, "it stands at epoch 1.0, the plan has 20"), (BENCHMARK, "never trained, and the plan has 20")],
)
def test_the_plan_rejects_both(reported: Any, metrics: Any, says: str) -> None:
    found = contradictions(reported(metrics), plan())
    assert {"epoch", "rows"} <= set(errors(found))
    said = {finding.rule: finding.message for finding in found}
    assert says in said["epoch"]
    assert "ag_news has 7,600 test rows, cifar10 has 10,000 test rows" in said["rows"]
    assert said["batch"] == "it ran in batches of 8, the Trainer's default, where the plan has 32"


# ── honest and altered numbers ──────────────────────────────────────────────────────────────────────────────────────

ROWS = st.integers(50, 60_000)
BATCHES = st.integers(1, 512)
SECONDS = st.floats(2.0, 900.0)


def as_trainer(rows: int, batch: int, right: int, seconds: float, digits: int = 17) -> dict[str, float]:
    """As `speed_metrics` of transformers rounds: seconds to 4 decimals, rates to 3."""
    steps = math.ceil(rows / batch)
    return {
        "eval_loss": 0.3,
        "eval_accuracy": round(right / rows, digits),
        "eval_runtime": round(seconds, 4),
        "eval_samples_per_second": round(rows / seconds, 3),
        "eval_steps_per_second": round(steps / seconds, 3),
        "epoch": 3.0,
    }


def evaluation(metrics: dict[str, float]) -> Evaluation:
    return Evaluation(
        "a", "eval", True, {n.removeprefix("eval_"): Printed(Decimal(str(v))) for n, v in metrics.items()}
    )


@settings(deadline=None, max_examples=100)
@given(ROWS, BATCHES, st.floats(0, 1), SECONDS, st.integers(3, 17))
def test_honest_numbers_are_never_accused(rows: int, batch: int, share: float, seconds: float, digits: int) -> None:
    each = evaluation(as_trainer(rows, batch, round(share * rows), seconds, digits))
    assert errors(contradictions([each])) == []
    assert each.sizes is None or Size(rows, math.ceil(rows / batch)) in each.sizes


@settings(deadline=None, max_examples=50)
@given(st.integers(50, 3000), BATCHES, st.floats(0, 1), st.floats(20, 1000), st.sampled_from(["samples", "steps"]))
def test_rate_that_gives_half_a_row_or_step_is_an_error(
    rows: int, batch: int, share: float, speed: float, what: str
) -> None:
    metrics = as_trainer(rows, batch, round(share * rows), rows / speed)
    count = {"samples": rows, "steps": math.ceil(rows / batch)}[what]
    rate = metrics[f"eval_{what}_per_second"] = round((count + 0.5) / metrics["eval_runtime"], 3)
    assume(0.001 * metrics["eval_runtime"] + 0.0001 * rate < 0.4)  # the digits can tell half a row at all
    assume(str(rate)[::-1].find(".") == 3 and len(str(metrics["eval_runtime"]).partition(".")[2]) == 4)
    assert errors(contradictions([evaluation(metrics)])) == [{"samples": "rows", "steps": "steps"}[what]]


@settings(deadline=None, max_examples=50)
@given(ROWS, BATCHES, st.floats(0.1, 0.9), SECONDS)
def test_accuracy_between_two_counts_of_right_answers_is_an_error(
    rows: int, batch: int, share: float, seconds: float
) -> None:
    metrics = as_trainer(rows, batch, round(share * rows), seconds)
    assume(evaluation(metrics).size == rows)
    metrics["eval_accuracy"] = (round(share * rows) + 0.5) / rows
    assume(len(str(metrics["eval_accuracy"])) > 9)  # of few digits it would be a rounded one
    each = evaluation(metrics)
    assume(each.size == rows)
    assert errors(contradictions([each])) == ["accuracy"]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_batch_sizes_are_those_that_cut_the_rows_into_the_steps(rows: int, steps: int) -> None:
    tried = [size for size in range(1, rows + 1) if math.ceil(rows / size) == steps]
    found = batches(Size(rows, steps))
    assert list(found) == (tried if steps > 1 else [rows])


def test_steps_that_no_batch_size_gives_are_an_error(reported: Any) -> None:
    found = contradictions(reported(RESULTS | {"eval_steps_per_second": round(300 / 3.8693, 3)}))
    assert errors(found) == ["batch"]
    assert "no batch size cuts those rows into those steps" in found[0].message


@pytest.mark.long
@settings(deadline=None, max_examples=15)
@given(st.integers(1, 400), st.integers(101, 400))
def test_divisor_divides_every_size_that_gives_the_accuracy(right: int, rows: int) -> None:
    assume(right <= rows and len(repr(right / rows)) > 12)
    least = divisor(Printed(Decimal(repr(right / rows))))
    assert least == rows // math.gcd(right, rows)


def test_coarse_accuracy_names_no_divisor() -> None:
    assert divisor(Printed(Decimal("0.856"))) == 0


def test_accuracy_in_single_precision_is_no_error() -> None:
    share = Printed(Decimal("0.8560000061988831"))  # float32(0.856)
    assert list(rights(share, 500)) == [428]
    assert divisor(share) == 125


def test_interval_is_exact() -> None:
    assert interval(0, 10) == pytest.approx(
        (0.0, 0.3085), abs=1e-4
    )  # Clopper and Pearson's own table: 1 − 0.025^(1/10)


# ── single findings ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"eval_accuracy": 1.2}, "range"),
        ({"eval_loss": -0.1}, "range"),
        ({"eval_loss": float("nan")}, "finite"),
        ({"eval_samples": 501}, "rows"),
        ({"eval_samples": 500.5}, "rows"),
        ({"eval_accuracy": 0.8571}, "accuracy"),
        ({"eval_runtime": 4.8693}, "rows"),
        ({"eval_runtime": 0.0}, "steps"),
    ],
)
def test_one_altered_number_is_an_error(reported: Any, change: dict[str, float], rule: str) -> None:
    assert rule in errors(contradictions(reported(RESULTS | change)))


def test_declared_rows_are_enough_to_count_right_answers(reported: Any) -> None:
    [each] = reported({"eval_accuracy": "0.90000", "eval_samples": 7600})
    assert (each.size, list(each.right)) == (7600, [6840])
    assert errors(contradictions([each], plan(epochs=1))) == ["epoch"]


def test_rounded_accuracy_counts_only_as_far_as_its_digits_go(reported: Any) -> None:
    [each] = reported({"eval_accuracy": 0.91, "eval_samples": 7600})
    assert (each.right[0], each.right[-1]) == (6878, 6954)
    assert dict(facts(each))["right"].startswith(
        "accuracy 0.91 × 7,600: 6,878 to 6,954 of 7,600 right (95 % interval 89.8%"
    )


def test_planned_test_below_chance_is_an_error_even_without_a_loss(reported: Any) -> None:
    found = contradictions(reported({"eval_accuracy": "0.2500", "eval_samples": 7600, "epoch": 20}), plan())
    assert errors(found) == ["chance"]
    assert "1,900 of 7,600 right" in found[0].message


def test_high_loss_with_good_answers_is_a_warning(reported: Any) -> None:
    found = contradictions(
        reported({"eval_accuracy": 0.9, "eval_samples": 7600, "eval_loss": 1.5, "epoch": 20}), plan()
    )
    assert [(f.level, f.rule) for f in found] == [("W", "loss")]


def test_always_the_same_answer_is_named_where_the_split_is_known(reported: Any) -> None:
    found = contradictions(reported({"eval_accuracy": 279 / 408, "eval_samples": 408, "epoch": 3}))
    [said] = [f.message for f in found if f.rule == "majority"]
    assert "if this is GLUE MRPC validation, the most frequent label alone gives 68.4%" in said


def test_dev_rows_in_place_of_test_rows_are_named(reported: Any) -> None:
    metrics = {"eval_accuracy": 0.9, "eval_samples": 2000, "epoch": 20}
    [said] = [f.message for f in contradictions(reported(metrics), plan()) if f.rule == "rows"]
    assert "the size of the dev rows of ag_news" in said


def test_training_metrics_are_held_against_the_planned_steps(reported: Any) -> None:
    made = plan(train_rows=120_000)
    honest = {"train_runtime": 7500.1234, "train_steps_per_second": "10.000", "train_loss": 0.2}
    assert made.tracks[0].steps == 75_000
    short = honest | {"train_steps_per_second": 5.123}
    assert errors(contradictions(reported(honest), made)) == []
    assert errors(contradictions(reported(short), made)) == ["steps"]


def test_same_rows_in_other_batches_are_compared_but_not_their_speed(reported: Any) -> None:
    other = RESULTS | {"eval_steps_per_second": round(32 / 3.8693, 3)}
    [found] = [f for f in contradictions(reported(RESULTS, other)) if f.rule == "compare"]
    assert (found.level, "speeds cannot be compared" in found.message) == ("W", True)


def test_table_of_splits_is_consistent() -> None:
    known = {split.name: split for split in splits()}
    assert (known["GLUE SST-2 validation"].rows, known["GLUE SST-2 validation"].majority) == (872, 444)
    for split in known.values():
        assert split.source
        assert not split.majority or split.rows / split.classes <= split.majority < split.rows


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prefixes_of_one_file_are_evaluations_of_their_own(reported: Any) -> None:
    both = RESULTS | {"train_loss": 0.5, "train_runtime": 10.0, "loss": 0.4, "total_flos": 1e15, "note": "x"}
    found = reported(both)
    assert [each.name.rpartition("/")[2] for each in found] == [
        "a.json (eval)",
        "a.json (train)",
        "a.json (no prefix)",
    ]


def test_dev_and_test_rows_of_one_file_are_not_held_against_each_other(reported: Any) -> None:
    dev_and_test = RESULTS | {"test_accuracy": 0.85, "test_samples": 1000}
    assert errors(contradictions(reported(dev_and_test))) == []
    assert errors(contradictions(reported(dev_and_test, dev_and_test))) == []
    assert errors(contradictions(reported(dev_and_test, dev_and_test | {"test_samples": 1020}))) == ["compare"]


@pytest.mark.parametrize("text", [str(RESULTS), json.dumps({k: str(v) for k, v in RESULTS.items()})])
def test_python_dictionaries_and_numbers_in_quotes_are_read_too(reported: Any, text: str) -> None:
    assert list(reported(text)[0].right) == [428]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "contains a list"),
        ("'a", "cannot be read"),
        ('{"a": 1}', "has no metric"),
        ('{"eval_loss": [1]}', "has no metric"),
        ('{"eval_loss": true}', "has no metric"),
        ('{"eval_loss": 1e999999999}', "is not a number that a metric can have"),
        ('{"eval_loss": ' + "1" * 5000 + "}", "is not a number that a metric can have"),
        ('{"eval_runtime": 1e29, "eval_samples_per_second": 1e29}', "is not a number that a metric can have"),
        ('{"eval_samples": 99999999999999999999}', "is not a number that a metric can have"),
        ('{"eval_loss": 1e-99}', "is not a number that a metric can have"),
        ("[" * 100_000, "cannot be read"),
        ("{'a': " * 100_000, "cannot be read"),
        (" " * 2_000_000, "bytes"),
    ],
)
def test_file_without_metrics_says_what_is_wrong(reported: Any, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        reported(text)
    assert caught.value.hint and "\n" not in caught.value.message[:200]


def test_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    unreadable = ((tmp_path / "no.json", "does not exist"), (tmp_path, "not a file"), (tmp_path / "x.json", "read"))
    for path, says in unreadable:
        with pytest.raises(DataError, match=says):
            read(path)


@pytest.mark.long
def test_command_line_explains_and_exits_with_1(kdagent: Any, tmp_path: Path) -> None:
    files = [tmp_path / "results.json", tmp_path / "benchmark.json", tmp_path / "plan.json"]
    for file, text in zip(files, (json.dumps(RESULTS), json.dumps(BENCHMARK), plan().canonical()), strict=True):
        file.write_text(text)
    said = kdagent("lint", str(files[0]), str(files[1]))
    assert said.code == 1 and f"E {files[0]}, {files[1]}: cannot be compared" in said.out
    assert kdagent("lint", str(files[0])).code == 0
    held = kdagent("lint", str(files[0]), "--plan", str(files[2]), "--json")
    assert held.code == 1 and {f["rule"] for f in held.json["findings"] if f["level"] == "E"} == {"epoch", "rows"}
    missing = kdagent("lint", str(tmp_path / "no.json"))
    assert missing.code == 2 and "does not exist\nhint: " in missing.err
    assert kdagent("lint", str(files[0]), "--plan", "nowhere").code == 2
