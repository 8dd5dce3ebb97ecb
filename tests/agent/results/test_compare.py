from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from agent.errors import DataError
from agent.results.compare import compare, decide, gap, judge, mcnemar
from agent.results.schema import JUDGED, Comparison, Guard
from agent.results.score import score
from agent.statistics import holm, least_p, sign_flip

LABELS = np.arange(60) % 3
PASSED = Guard(name="weights_changed", where="outside", outcome="pass", detail="every trial")
NOT_RUN = Guard(name="loss_probe", where="in-process", outcome="not_run", detail="no trace")
FAILED = Guard(name="teacher_used", where="in-process", outcome="fail", detail="0 teacher reads")


def trial(predicted, labels=LABELS):
    return score(np.eye(3)[predicted], labels)


def noisy(share, generator, labels=LABELS):
    """A trial that answers about `share` of the examples rightly."""
    wrong = generator.random(len(labels)) >= share
    return trial(np.where(wrong, (labels + 1) % 3, labels), labels)


def arm(share, seeds, start=0, labels=LABELS):
    return [noisy(share, np.random.default_rng(start + seed), labels) for seed in range(seeds)]


def measured(n_seeds, difference=0.05, low=0.02, high=0.08, p=None, metric="accuracy"):
    p = least_p(n_seeds) if p is None else p
    return Comparison(
        proposed="proposed", benchmark="vanilla_kd", metric=metric, n_seeds=n_seeds, n_examples=400,
        mean_proposed=0.9 + difference, mean_benchmark=0.9, difference=difference, low=low, high=high,
        resamples=1000, p_sign_flip=p, least_p=least_p(n_seeds), p_holm=p,
    )  # fmt: skip


def verdict(comparison, guards=(PASSED,), least_effect=0.005, level=0.05):
    return decide(comparison, guards, least_effect, level).verdict


def test_per_seed_metrics_agree_with_the_scores_they_come_from():
    ours, theirs = arm(0.8, 4), arm(0.6, 4, start=50)
    for comparison in compare("proposed", "vanilla_kd", ours, theirs, resamples=50):
        ours_mean = np.mean([t.metrics[comparison.metric] for t in ours])
        theirs_mean = np.mean([t.metrics[comparison.metric] for t in theirs])
        assert comparison.mean_proposed == pytest.approx(ours_mean, abs=1e-12)
        assert comparison.mean_benchmark == pytest.approx(theirs_mean, abs=1e-12)
        assert comparison.difference == pytest.approx(ours_mean - theirs_mean, abs=1e-12)
        assert (comparison.n_seeds, comparison.n_examples, comparison.resamples) == (4, 60, 50)


def test_macro_metrics_agree_with_scikit_learn_when_a_class_is_never_predicted():
    ours, theirs = [trial(np.zeros(60, int))], [trial(LABELS)]
    values = {c.metric: c.mean_proposed for c in compare("proposed", "vanilla_kd", ours, theirs, resamples=10)}
    assert values == pytest.approx({metric: ours[0].metrics[metric] for metric in JUDGED})


def test_the_interval_repeats_and_turns_its_sign_with_the_arms():
    ours, theirs = arm(0.8, 3), arm(0.6, 3, start=50)
    first = compare("proposed", "vanilla_kd", ours, theirs, resamples=2000)
    assert first == compare("proposed", "vanilla_kd", ours, theirs, resamples=2000)
    for forth, back in zip(first, compare("vanilla_kd", "proposed", theirs, ours, resamples=2000), strict=True):
        assert forth.low <= forth.difference <= forth.high
        assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.02)


def test_the_bootstrap_draws_examples_and_seeds():
    """One seed: the interval is that of the mean over examples. Seeds that differ widen it."""
    ours, theirs = arm(0.8, 1), arm(0.6, 1, start=50)
    accuracy = compare("proposed", "vanilla_kd", ours, theirs)[0]
    paired = ours[0].correct.astype(float) - theirs[0].correct
    half = 1.96 * paired.std() / np.sqrt(len(paired))
    assert accuracy.high - accuracy.low == pytest.approx(2 * half, rel=0.1)

    half_right = trial(np.where(np.arange(60) < 30, LABELS, (LABELS + 1) % 3))
    steady = compare("p", "b", [half_right] * 4, [half_right] * 4, resamples=500)[0]
    unsteady = compare("p", "b", [trial(LABELS), half_right] * 2, [half_right] * 4, resamples=500)[0]
    assert (steady.low, steady.high) == (0, 0)
    assert unsteady.low == 0 and unsteady.high > 0.4


@pytest.mark.long
def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    generator, covered, rounds = np.random.default_rng(1), 0, 80
    for _ in range(rounds):
        ours = [noisy(0.75, generator) for _ in range(6)]
        theirs = [noisy(0.70, generator) for _ in range(6)]
        accuracy = compare("proposed", "vanilla_kd", ours, theirs, resamples=300)[0]
        covered += accuracy.low <= 0.05 <= accuracy.high
    assert covered / rounds >= 0.92


@pytest.mark.long
def test_equal_arms_are_called_better_no_more_often_than_the_level_allows():
    generator, claims, rounds = np.random.default_rng(2), 0, 100
    for _ in range(rounds):
        shares = generator.normal(0.5, 0.2, size=(2, 6))
        ours, theirs = ([noisy(share, generator) for share in arm] for arm in shares)
        accuracy = compare("proposed", "vanilla_kd", ours, theirs, resamples=200)[0]
        claims += verdict(accuracy, least_effect=0) in ("better", "worse")
    assert claims / rounds <= 0.05


def test_arms_scored_on_other_examples_or_seeds_are_not_compared():
    with pytest.raises(DataError, match="different test examples"):
        compare("proposed", "vanilla_kd", arm(0.8, 2), arm(0.8, 2, labels=LABELS[::-1]))
    with pytest.raises(DataError, match="one has 2 trials and the other 3"):
        compare("proposed", "vanilla_kd", arm(0.8, 2), arm(0.8, 3))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 9])
def test_sign_flip_level_is_the_exact_share_of_sign_patterns(n):
    for counts in np.random.default_rng(n).integers(-6, 12, size=(5, n)):
        observed = abs(sum(map(Fraction, counts.tolist())))
        flips = [sum(s * int(d) for s, d in zip(signs, counts, strict=True)) for signs in product((1, -1), repeat=n)]
        exact = sum(abs(total) >= observed for total in flips) / 2**n
        assert sign_flip(counts / 400) == pytest.approx(exact)


def test_least_level_is_reached_when_all_seeds_agree():
    for n in range(1, 9):
        assert sign_flip(np.full(n, 0.01)) == pytest.approx(least_p(n))


def test_mcnemar_is_the_binomial_level_of_the_discordant_examples():
    ours, theirs = LABELS.copy(), LABELS.copy()
    theirs[:7] = (theirs[:7] + 1) % 3
    ours[10:11] = (ours[10:11] + 1) % 3
    assert mcnemar(trial(ours), trial(theirs)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(trial(ours), trial(ours)) == 1


def test_holm_on_a_known_example():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )


def test_only_the_secondary_metrics_are_corrected():
    comparisons = compare("proposed", "vanilla_kd", arm(0.95, 6), arm(0.5, 6, start=50), resamples=200)
    judged = {c.metric: c for c in judge(comparisons, [PASSED], "f1", 0.005, 0.05)}
    assert judged["f1"].p_holm == judged["f1"].p_sign_flip == pytest.approx(2 / 64)
    assert judged["f1"].verdict == "better"
    assert judged["accuracy"].p_holm == pytest.approx(3 * 2 / 64)
    assert judged["accuracy"].verdict == "inconclusive"
    assert "level after Holm's correction over 6 seeds is 0.094" in judged["accuracy"].reason


@pytest.mark.parametrize(
    ("n", "up", "down"),
    [
        (1, "inconclusive", "inconclusive"),
        (2, "inconclusive", "inconclusive"),
        (3, "inconclusive", "inconclusive"),
        (5, "inconclusive", "inconclusive"),
        (6, "better", "worse"),
    ],
)
def test_verdict_table_of_a_large_effect_on_which_all_seeds_agree(n, up, down):
    assert verdict(measured(n)) == up
    assert verdict(measured(n, -0.05, -0.08, -0.02)) == down


def test_one_seed_never_makes_a_claim_whatever_the_level():
    assert verdict(measured(1), level=0.99) == "inconclusive"
    assert verdict(measured(2), level=0.99) == "better"


def test_too_few_seeds_are_named_with_the_number_that_would_do():
    reason = decide(measured(3), [PASSED], 0.005, 0.05).reason
    assert "3 seeds" in reason and "below 0.250" in reason and "6 seeds are the fewest" in reason


@pytest.mark.parametrize(
    ("comparison", "because"),
    [
        (measured(6, 0.01, -0.01, 0.03), "includes zero"),
        (measured(6, 0.01, 0.0, 0.03), "includes zero"),
        (measured(6, p=0.0625), "0.062, not below"),
        (measured(6, 0.004, 0.001, 0.008), "least effect worth a claim, +0.50 points"),
        (measured(6, -0.004, -0.008, -0.001), "least effect"),
    ],
)
def test_a_doubt_makes_the_verdict_inconclusive_and_is_named(comparison, because):
    decided = decide(comparison, [PASSED], 0.005, 0.05)
    assert decided.verdict == "inconclusive"
    assert because in decided.reason


def test_a_difference_of_exactly_the_least_effect_is_enough():
    assert verdict(measured(6, 0.902 - 0.897, 0.001, 0.009)) == "better"


def test_a_failed_guard_makes_everything_invalid_and_a_missing_one_blocks_claims():
    assert verdict(measured(6), [PASSED, NOT_RUN, FAILED]) == "invalid"
    assert verdict(measured(1), [FAILED]) == "invalid"
    blocked = decide(measured(6), [PASSED, NOT_RUN], 0.005, 0.05)
    assert blocked.verdict == "inconclusive"
    assert "loss_probe (no trace)" in blocked.reason


@pytest.mark.parametrize(("metric", "direction"), [("inference_ms", "lower"), ("size_mb", "lower")])
def test_time_and_size_are_shown_never_judged(metric, direction):
    decided = decide(measured(6, metric=metric), [PASSED], 0.005, 0.05)
    assert decided.verdict == "inconclusive"
    assert f"{direction} is better" in decided.reason


def test_gap_of_a_much_better_teacher_is_significant_and_of_an_equal_one_is_not():
    wide = gap(trial(LABELS), arm(0.6, 6))
    assert wide.significant and wide.difference == pytest.approx(wide.teacher - wide.student)
    equal = gap(arm(0.7, 1, start=90)[0], arm(0.7, 6))
    assert not equal.significant and equal.note.startswith("No gap to close")
    assert not gap(arm(0.4, 1, start=90)[0], arm(0.9, 6)).significant


def test_gap_error_is_that_of_the_paired_examples_when_seeds_agree():
    student = noisy(0.7, np.random.default_rng(3))
    found = gap(trial(LABELS), [student, student])
    share = 1 - student.accuracy
    assert found.standard_error == pytest.approx(np.sqrt(share * (1 - share) / 59))
