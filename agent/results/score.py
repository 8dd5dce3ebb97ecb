"""Scores: one trial's logits measured against the test labels.

Logits come from a process that ran edited code, labels from the record. Every number of a report starts here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.errors import DataError
from sandbox.errors import IntakeRejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """One trial on the test rows of one track; shares lie in [0, 1]."""

    accuracy: float
    precision: float
    """Precision, recall and F1 are macro averages over the classes that occur among the labels."""
    recall: float
    f1: float
    nll: float
    """Mean negative log-likelihood of the label, in nats."""
    n: int
    predicted: NDArray[np.int64] = field(repr=False, compare=False)
    """[N] the class of the highest logit."""
    labels: NDArray[np.int64] = field(repr=False, compare=False)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[N] whether each example was answered correctly."""
        hits: NDArray[np.bool_] = self.predicted == self.labels
        return hits

    @property
    def metrics(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("accuracy", "precision", "recall", "f1", "nll")}


def score(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Scores:
    """Scores of `logits` [N, C] against `labels` [N].

    Raises IntakeRejected for logits that a trial must not hand in, DataError for unusable labels.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    _check_labels(labels)
    _check_logits(logits, labels)
    gold, predicted = labels.astype(np.int64), logits.argmax(axis=1).astype(np.int64)
    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, predicted, labels=np.unique(gold), average="macro", zero_division=0
    )
    return Scores(
        accuracy=float((predicted == gold).mean()),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        nll=_nll(logits, gold),
        n=len(gold),
        predicted=predicted,
        labels=gold,
    )


def majority_accuracy(labels: NDArray[np.integer]) -> float:
    """Accuracy of always answering the most frequent of `labels` [N]: the best a constant can do."""
    import numpy as np

    _check_labels(labels)
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def _check_labels(labels: NDArray[np.integer]) -> None:
    import numpy as np

    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels) or labels.min() < 0:
        raise DataError(
            f"test labels must be a non-empty list of class numbers from 0, not {labels.dtype} of shape {labels.shape}",
            "check the label column of the test split",
        )


def _check_logits(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    import numpy as np

    expected = f"floats [{len(labels)}, at least {max(2, int(labels.max()) + 1)}]"
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating):
        raise IntakeRejected(f"test logits are {logits.dtype} of shape {logits.shape}, expected {expected}")
    if len(logits) != len(labels) or logits.shape[1] < max(2, int(labels.max()) + 1):
        raise IntakeRejected(f"test logits have shape {logits.shape}, expected {expected}")
    if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise IntakeRejected(
            f"test logits of {bad} of {len(logits)} examples are not finite",
            "training probably diverged: lower the learning rate in a new plan",
        )


def _nll(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    import numpy as np

    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float((log_total - shifted[np.arange(len(labels)), labels]).mean())
