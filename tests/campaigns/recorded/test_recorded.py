"""The book of recorded runs speaks of methods and runs there are; an ordering is reproduced only where it is."""

import pytest

from agent.config import TASKS
from agent.config import cards as listed
from agent.plan.cards import cards
from tests.campaigns.ideas.__main__ import chosen
from tests.campaigns.recorded.__main__ import BOOK, reproduced

RUNS = {run["name"]: run for run in BOOK["run"]}


@pytest.mark.parametrize("run", BOOK["run"], ids=RUNS)
def test_idea_of_a_recorded_run_finds_the_method_it_speaks_of(run):
    kind = listed(TASKS)[run["task"]]["kind"]
    assert chosen({"said": run["idea"], "kinds": [kind]}) == run.get("method", run["name"])
    assert run.get("method", run["name"]) in cards()


@pytest.mark.parametrize("ordering", BOOK["ordering"], ids=lambda ordering: ordering["source"][:30])
def test_ordering_speaks_of_recorded_runs_of_one_task(ordering):
    assert len({RUNS[place.split("/")[0]]["task"] for place in ordering["order"]}) == 1
    assert ordering["quantity"] in ("accuracy", "gain")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([{0: 0.9, 1: 0.8}, {0: 0.7, 1: 0.7}], "yes, in every seed"),
        ([{0: 0.9, 1: 0.6}, {0: 0.7, 1: 0.7}], "in the mean, not in every seed"),
        ([{0: 0.7, 1: 0.6}, {0: 0.7, 1: 0.7}], "**no**"),
        ([{0: 0.7, 1: 0.7}, {0: 0.7, 1: 0.7}], "**no**"),
        ([{0: 0.9}, {0: 0.7}, {0: 0.8}], "**no**"),
    ],
)
def test_ordering_is_reproduced_in_every_seed_in_the_mean_or_not(scores, said):
    assert reproduced(scores) == said
