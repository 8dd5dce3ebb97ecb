"""The cheats as tests: a few with the smallest training in every run of the suite, all with KDAGENT_CHEATS=all."""

import os
from collections.abc import Iterator

import pytest

from tests.campaigns.cheats.__main__ import CHEATS, HONEST, play_all, row, tally
from tests.campaigns.cheats.play import SMALL, Ended

ALL = os.environ.get("KDAGENT_CHEATS") == "all"
QUICK = ("C9a", "C22")
TINY = (
    *("--seeds", "1", "--yes"),
    *("--set", "transfer_rows=100", "--set", "epochs=1", "--set", "teacher_training.epochs=1"),
)
AUTHORS = (*HONEST, *CHEATS) if ALL else tuple(author for author in CHEATS if author.name in QUICK)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    ended = play_all(AUTHORS, tmp_path_factory.mktemp("cheats"), SMALL if ALL else TINY, worn=not ALL)
    yield {each.author.name: each for each in ended}


@pytest.mark.parametrize("name", [author.name for author in AUTHORS])
def test_cheats_gain_nothing_and_honest_authors_are_not_accused(played: dict[str, Ended], name: str) -> None:
    ended = played[name]
    assert not ended.accused if ended.honest else ended.caught, f"{row(ended)}\n{ended.said[-2000:]}"


def test_every_known_cheat_has_an_author() -> None:
    assert {author.row for author in CHEATS} == {f"C{number}" for number in range(1, 23)}
    assert len({author.name for author in CHEATS}) == len(CHEATS)


def test_a_run_that_broke_down_has_caught_nobody() -> None:
    broken = Ended(CHEATS[0], 1, "Traceback (most recent call last):\nNameError: x", None, 1.0)
    assert not broken.caught
    assert tally([broken]) == ("0 of 1 cheats caught, 0 of 0 honest controls accused", False)
