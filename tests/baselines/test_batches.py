"""Batches of texts of similar length: every row once per epoch, little padding."""

from itertools import pairwise

import numpy as np
import pytest

from baselines.batches import WINDOW, SimilarLengths

DRAW = np.random.default_rng(0)
LENGTHS = DRAW.integers(5, 120, 1003)
BATCH = 16


def _batches(order: list[int]) -> np.ndarray:
    whole = len(order) // BATCH * BATCH
    return np.array(order[:whole]).reshape(-1, BATCH)


def _padded(order: list[int]) -> float:
    """Tokens computed per real token."""
    lengths = LENGTHS[_batches(order)]
    return float((lengths.max(axis=1) * BATCH).sum() / lengths.sum())


def test_every_row_comes_once_in_each_epoch() -> None:
    sampler = SimilarLengths(LENGTHS, BATCH, seed=1)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert sorted(sampler) == list(range(len(LENGTHS)))


@pytest.mark.parametrize("rows", [1, BATCH - 1, BATCH, WINDOW * BATCH + 1])
def test_fewer_rows_than_a_window_are_whole_too(rows: int) -> None:
    assert sorted(SimilarLengths(LENGTHS[:rows], BATCH, seed=0)) == list(range(rows))


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    first, again, other = (SimilarLengths(LENGTHS, BATCH, seed) for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    first.set_epoch(1)
    assert list(first) != list(again)


def test_most_of_the_padding_is_gone() -> None:
    similar, drawn = _padded(list(SimilarLengths(LENGTHS, BATCH, 0))), _padded(DRAW.permutation(len(LENGTHS)).tolist())
    assert similar - 1 < 0.4 * (drawn - 1)


def test_short_batches_do_not_come_before_long_ones() -> None:
    longest = LENGTHS[_batches(list(SimilarLengths(LENGTHS, BATCH, 0)))].max(axis=1)
    rising = sum(a < b for a, b in pairwise(longest.tolist()))
    assert 0.3 < rising / (len(longest) - 1) < 0.7
