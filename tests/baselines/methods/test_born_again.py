"""Generations: who teaches whom."""

import pytest

from baselines.methods.born_again import teacher_of


def test_each_generation_learns_from_the_one_before_and_the_first_from_labels():
    assert [teacher_of(generation) for generation in range(4)] == [None, 0, 1, 2]
    with pytest.raises(ValueError, match="count from 0"):
        teacher_of(-1)
