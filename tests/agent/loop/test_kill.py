"""A few kills of `python -m tests.campaigns.kill`, then a clock that was moved back before the run is resumed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.recheck.verify import verify
from agent.record.events import EventLog
from tests.agent.command import Kdagent
from tests.agent.gates import Gates
from tests.campaigns.kill.__main__ import differences
from tests.campaigns.kill.kills import AtEvent, Chain, Inside
from tests.campaigns.kill.ledger import ledger

pytestmark = pytest.mark.slow
MOMENTS = (
    AtEvent("after", 1),  # a plan on record, and no plan.json
    AtEvent("after", 2),  # an approval on record, and no review.json
    Inside("making the repository", "**/repository", 0.0),  # under either name: it has its first for a moment only
    Inside("reference trials", "jobs/*_*-digits-[0-9]/job-0.json", 1.0),
    AtEvent("before", 5),  # every reference arm trained, and no event says so
)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, cache: Path, gates: Gates) -> Chain:
    """A run of the same plan as `gates`, killed again and again, then resumed by a clock that is a day behind."""
    home = tmp_path_factory.mktemp("kill")
    for kind in ("arrow", "data", "teachers"):  # and no trials, so that reference arms are trained, and can be killed
        if (cache / kind).exists():
            shutil.copytree(cache / kind, home / "cache" / kind)
    kdagent = Kdagent(home / "runs", home / "cache")
    chain = Chain(kdagent, ledger(gates.paths))
    assert [chain.kill(moment, power=number % 2 == 0) for number, moment in enumerate(MOMENTS)] == [True] * len(MOMENTS)
    assert chain.end(replace(kdagent, module="tests.agent.yesterday")) == []
    return chain


def test_what_a_kill_leaves_is_the_beginning_of_the_undisturbed_run(chain: Chain) -> None:
    assert [each.complaints for each in chain.killed] == [[]] * len(MOMENTS)


def test_killed_run_ends_as_the_undisturbed_one(chain: Chain, gates: Gates) -> None:
    assert differences(gates.paths, chain.paths) == []


def test_events_keep_their_order_where_the_clock_went_back(chain: Chain) -> None:
    events = EventLog(chain.paths.events).read()
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[-1]["time"] < events[0]["time"]


def test_finished_run_is_left_as_it_is_by_a_resume_under_another_clock(chain: Chain) -> None:
    """LangGraph finds a checkpoint of before the clock went back, in the middle of the run."""
    assert chain.kdagent("resume", "@last").code == 0
    assert verify(chain.paths).findings == []
