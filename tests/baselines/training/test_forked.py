"""Where a trial runs: in a copy of the process that paid for the imports, if a copy can compute."""

import os

import pytest
import torch

from baselines.training.forked import _copies_compute, apart


@pytest.mark.parametrize(
    ("card", "taken", "copied"),
    [(False, False, True), (True, False, True), (True, True, False)],
    ids=["no card", "a card that was asked for kindly", "a card that was taken by asking"],
)
def test_trial_is_a_copy_unless_the_copy_could_not_use_the_card(tmp_path, monkeypatch, card, taken, copied):
    """torch's own answers stand in for a card: none was there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: taken)
    _copies_compute.cache_clear()
    try:
        assert apart(lambda stream: stream.write(f"{os.getpid()}"), tmp_path / "trace") == 0
    finally:
        _copies_compute.cache_clear()
    assert (int((tmp_path / "trace").read_text()) != os.getpid()) == copied
