"""What compiling would do, and what a plan makes of it."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from agent import config
from agent.errors import PlanError
from agent.jobs.harness import Harness
from agent.jobs.progress import Progress
from agent.jobs.runner import Runner
from agent.loop.context import Context
from agent.loop.planning import Planning
from agent.plan import planner
from agent.plan.compiling import ENOUGH, LONG, told, worth
from agent.plan.draft import Draft
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.read import paces_of
from agent.record import runs
from agent.record.clock import Clock
from agent.record.pace import Pace
from agent.record.paths import RunPaths
from agent.record.prepared import Facts
from sandbox.isolation.process import Process
from tests.agent.plan.test_planner import proposal
from tests.agent.prepared import prepared

FAST = Pace(plain=0.1, compiled=0.05, first=20.0, same=True)
LONG_ENOUGH = {"digits.training.epochs": 60}


def drafted(**values: Any) -> tuple[Draft, Plan, Options]:
    options = Options(idea="efficient KD", tasks=("digits",), values=values)
    made = planner.draft(options)
    return made, freeze(made, options, proposal(), {}), options


@pytest.mark.parametrize(
    ("change", "steps", "pays"),
    [
        ({}, 10_000, True),
        ({}, 445, True),  # 44.5 s as it is; 20 s to compile and 22.25 s in steps
        ({}, 440, False),  # saves less than a twentieth
        ({"compiled": 0.1}, 10**9, False),
        ({"compiled": 0.096}, 10**9, False),
        ({"same": False}, 10_000, False),
        ({"problem": "no compiler"}, 10_000, False),
    ],
)
def test_compiling_pays_where_it_clearly_saves_time_and_computes_the_same_twice(
    change: dict[str, Any], steps: int, pays: bool
) -> None:
    assert FAST.model_copy(update=change).pays(steps) is pays


@pytest.mark.parametrize(
    ("values", "measured"),
    [
        ({}, False),
        (LONG_ENOUGH, True),
        ({"compiled": True}, True),
        (LONG_ENOUGH | {"compiled": False}, False),
        (LONG_ENOUGH | {"compiled": True}, True),
    ],
)
def test_it_is_measured_where_a_user_wants_it_or_leaves_it_open_in_long_trials(
    values: dict[str, Any], measured: bool
) -> None:
    made, plan, _ = drafted(**values)
    assert (plan.tracks[0].steps >= LONG) is (values.keys() >= LONG_ENOUGH.keys())
    assert bool(planner.open_to_compiling(made, plan)) is measured
    least = 0.0 if plan.tracks[0].training.compiled else ENOUGH / plan.tracks[0].steps
    assert worth(plan.tracks[0]) == least


@pytest.mark.parametrize(
    ("values", "pace", "compiled"),
    [
        ({}, FAST, True),
        ({}, FAST.model_copy(update={"same": False}), False),
        ({}, Pace(problem="no compiler"), False),
        ({"compiled": True}, Pace(plain=1.0, compiled=2.0), True),
    ],
)
def test_what_the_user_says_stands_and_the_measurement_settles_the_rest(
    values: dict[str, Any], pace: Pace, compiled: bool
) -> None:
    made, plan, options = drafted(**LONG_ENOUGH | values)
    planner.compile_where_it_pays(made, plan, {"digits": pace})
    settled = freeze(made, options, proposal(), {})
    assert settled.tracks[0].training.compiled is compiled
    assert not settled.tracks[0].teacher_training.compiled
    origin = settled.provenance.get("tracks.digits.training.compiled")
    assert origin == ("user" if values else "default" if compiled else None)
    assert Plan.model_validate_json(settled.canonical()) == settled


def test_compiling_that_is_wanted_and_impossible_is_refused() -> None:
    made, plan, _ = drafted(compiled=True)
    with pytest.raises(PlanError, match=r"digits\.training\.compiled = True: no compiler") as refusal:
        planner.compile_where_it_pays(made, plan, {"digits": Pace(problem="no compiler")})
    assert refusal.value.hint == "train without compiling: --set digits.training.compiled=false"


@pytest.mark.parametrize(
    ("pace", "values", "said"),
    [
        (
            FAST,
            {"compiled": True},
            "compiled: a step takes 100 ms plain, 50 ms compiled, 20 s to compile, the same ",
        ),
        (FAST, {}, "not compiled: a step takes 100 ms plain, 50 ms compiled, 20 s to compile, the same bits"),
        (Pace(plain=0.002), {}, "not compiled: a step takes 2 ms, too short for compiling to be tried"),
        (Pace(problem="no compiler"), {}, "not compiled: no compiler"),
    ],
)
def test_the_report_says_what_was_measured_and_what_came_of_it(pace: Pace, values: dict[str, Any], said: str) -> None:
    assert told(pace, drafted(**values)[1].tracks[0]).startswith(said)


def test_a_replay_is_told_what_its_run_had_measured(tmp_path: Path) -> None:
    paths = runs.create(tmp_path, "kd", {})
    assert paces_of(paths) == {}
    paths.facts.write_text(Facts({"digits": prepared(pace=FAST), "ag_news": prepared()}, ()).text())
    assert paces_of(paths) == {"digits": FAST.model_dump()}
    paths.facts.write_text(json.dumps({"tracks": {"digits": {"pace": {"plain": "no time"}}}}))
    assert paces_of(paths) == {}


def test_what_a_replay_was_told_is_not_measured_again(tmp_path: Path) -> None:
    made, plan, options = drafted(**LONG_ENOUGH)
    settings, progress = config.Settings.read(), Progress(Console(quiet=True), Clock(), quiet=True)
    runner = Runner(RunPaths(tmp_path), settings, Process(), progress, threading.Event(), 600.0)
    replayed = replace(options, paces={"digits": FAST.model_dump()})
    known = {"digits": prepared()}  # no folder: a measurement would have nothing to read
    run = Context(replayed, cast(Any, None), Harness(runner, None), runner)
    noted = Planning(run, made)._pace(plan, known)
    assert noted == {"digits": prepared(pace=FAST)}
    assert made.value("tracks.digits.training.compiled") is True
