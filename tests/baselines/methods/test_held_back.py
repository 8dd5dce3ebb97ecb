"""Rows held back: a fifth of each class, the same for everybody."""

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.held_back import held_back


def test_every_fifth_labelled_row_is_held_back_class_by_class():
    labels = torch.tensor([0, 1] * 10 + [-100] * 7 + [2] * 4)
    held = held_back(labels)
    assert held.nonzero()[:, 0].tolist() == [8, 9, 18, 19]
    assert not held[labels == -100].any()


def test_few_rows_of_many_classes_still_hold_some_back():
    assert held_back(torch.arange(10).repeat(2)).sum() == 4


def test_too_few_labels_to_hold_one_back_are_refused():
    with pytest.raises(BaselineError, match="fewer than 5 labelled rows"):
        held_back(torch.tensor([0, 0, 0, 1, -100, -100, -100]))
