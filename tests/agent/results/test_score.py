import numpy as np
import pytest

from agent.errors import DataError
from agent.figures import figure
from agent.results.score import majority_accuracy, score
from sandbox.errors import IntakeRejected

LABELS = np.array([0, 0, 1, 1, 2, 2])
LOGITS = np.array([[2, 1, 0], [0, 3, 0], [0, 1, 0], [0, 2, 1], [0, 0, 5], [4, 0, 1]], dtype=np.float32)


def test_scores_follow_from_the_confusion_matrix():
    scores = score(LOGITS, LABELS)
    assert scores.predicted.tolist() == [0, 1, 1, 1, 2, 0]
    assert scores.correct.tolist() == [True, False, True, True, True, False]
    assert (scores.n, scores.accuracy) == (6, pytest.approx(4 / 6))
    assert scores.precision == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert scores.recall == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert scores.f1 == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_nll_of_equal_logits_is_log_of_the_classes_and_survives_huge_logits():
    assert score(np.zeros((6, 3)), LABELS).nll == pytest.approx(np.log(3))
    assert score(np.eye(3)[LABELS] * 1e4, LABELS).nll == 0
    assert score(np.float16(LOGITS), LABELS).nll == pytest.approx(score(LOGITS, LABELS).nll, abs=1e-6)


def test_macro_averages_run_over_the_classes_that_occur_among_the_labels():
    never_gold = score(np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]]), np.array([0, 1, 1]))
    assert never_gold.recall == pytest.approx((1 + 1 / 2) / 2)
    assert never_gold.precision == pytest.approx(1)


@pytest.mark.parametrize(
    "logits",
    [
        LOGITS[:5],
        LOGITS[:, :2],
        LOGITS[:, 0],
        LOGITS.astype(int),
        np.where(LOGITS == 5, np.nan, LOGITS),
        np.where(LOGITS == 5, np.inf, LOGITS),
    ],
    ids=["rows missing", "class missing", "flat", "integers", "nan", "inf"],
)
def test_logits_that_are_not_what_a_trial_must_hand_in_are_rejected(logits):
    with pytest.raises(IntakeRejected, match="test logits"):
        score(logits, LABELS)


@pytest.mark.parametrize("labels", [LABELS - 1, LABELS[:, None], LABELS / 2, LABELS[:0]])
def test_unusable_labels_are_an_error_of_the_data(labels):
    with pytest.raises(DataError, match="test labels"):
        score(LOGITS, labels)


def test_majority_accuracy_is_the_best_constant_answer():
    assert majority_accuracy(np.array([0, 1, 1, 2])) == 0.5


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.97251, "percent", "97.25 %"),
        (0.0975, "points", "+9.75 points"),
        (-0.003, "points", "-0.30 points"),
        (-1e-9, "points", "+0.00 points"),
        (0.03125, "p", "0.031"),
        (0.0002, "p", "below 0.001"),
        (1.5, "ms", "1.50 ms"),
        (4.2, "mb", "4.20 MB"),
        (59.9, "seconds", "59.9 s"),
        (119.7, "seconds", "2 min 0 s"),
    ],
)
def test_numbers_are_written_one_way(value, unit, written):
    assert figure(value, unit) == written
