"""Ideas in researchers' words, held against the embedded recipes."""

from collections import Counter

from agent.plan.cards import cards
from tests.campaigns.ideas.__main__ import IDEAS, missed


def test_nine_ideas_in_ten_get_a_fitting_method() -> None:
    misses = list(missed())
    assert len(IDEAS) >= 60 and len(misses) <= len(IDEAS) // 10, misses


def test_every_idea_outside_the_field_is_refused() -> None:
    assert not [said for said, _, fitting in missed() if fitting == "refused"]


def test_every_method_has_three_ideas_or_more() -> None:
    wanted = Counter(name for idea in IDEAS for name in idea["want"])
    assert {name for name in cards() if wanted[name] >= 3} == set(cards())
