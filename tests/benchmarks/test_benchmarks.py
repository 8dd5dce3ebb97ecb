"""The benchmark judges itself: arms compute the same, one that does not gets no figure, ratios carry their spread."""

import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import arms, measure, rate, recipe, rivals, scaling, setting
from benchmarks.arms import OWN, Pass
from benchmarks.measure import Measured, ratio
from benchmarks.tier import CARD, PROCESSOR, quick

SMALL = {"layers": 2, "width": 16, "heads": 2}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> setting.Setting:
    made = pytest.MonkeyPatch()
    made.setattr(setting, "VOCABULARY", 64)
    made.setattr(setting, "TEXT", {who: spec | SMALL for who, spec in setting.TEXT.items()})
    yield setting.text(tmp_path_factory.mktemp("bench") / "text", [9] * 40, 12, 4, threads=1)
    made.undo()


@pytest.fixture(scope="module")
def measured(text) -> dict[str, Measured]:
    threads = torch.get_num_threads()
    yield measure.measured(text, OWN, passes=2, more=1)
    torch.set_num_threads(threads)


def test_every_arm_takes_every_step_of_one_pass(text, measured):
    assert text.steps == 10
    turns = {name: len(each.seconds) for name, each in measured.items()}
    assert turns == dict.fromkeys(OWN, 2 * 8) | dict.fromkeys(measure.CLOSEST, 3 * 8)
    assert all(len(each.losses) == 10 and each.memory >= 0 for each in measured.values())


def test_arms_that_take_turns_do_what_they_do_alone_and_are_timed_without_the_others(text):
    """Each step of one arm lies between two of the other, and none of its time is the other's."""
    found = measure.turns(text, {name: OWN[name] for name in ("F0", "K-c", "N")}, Random(0))
    ends = sorted((end, name) for name, done in found.items() for end in done.ends[measure.WARM :])
    assert all(len({name for _, name in ends[at : at + 3]}) == 3 for at in range(0, len(ends), 3))
    for name, done in found.items():
        assert done.losses == pytest.approx(OWN[name](text).losses, rel=1e-6)
        others = [end for end, other in ends if other != name]
        spans = zip(done.begins, done.ends[1:], strict=False)
        assert not any(begin < end < last for begin, last in spans for end in others)


def test_memory_is_what_was_needed_beyond_what_was_there():
    there = torch.ones(25_000_000)
    with measure.weighed() as found:
        more = torch.ones(25_000_000)
        time.sleep(0.2)
    assert len(there) == len(more) and found == [pytest.approx(100, abs=20)]


def test_arms_with_one_objective_have_the_same_losses_step_by_step(measured):
    for one, other in (("F1", "F0"), ("K-on", "N"), ("K-c", "N")):
        assert measured[one].losses == pytest.approx(measured[other].losses, rel=1e-4)
    assert measured["N"].losses != pytest.approx(measured["F0"].losses, rel=1e-2)


def test_a_setting_in_bf16_trains_nearly_as_in_fp32(text, measured):
    losses = OWN["K-c"](replace(text, precision="bf16")).losses
    assert losses == pytest.approx(measured["K-c"].losses, rel=0.05) and losses != measured["K-c"].losses


def test_an_arm_that_computes_something_else_gets_no_figure(text, measured):
    table, wrong = command._parity("text", text, measured, PROCESSOR.bounds["text"])
    assert not wrong and "no figure" not in table
    spoiled = measured | {"K-c": Measured(measured["K-c"].seconds, [2 * loss for loss in measured["K-c"].losses])}
    table, wrong = command._parity("text", text, spoiled, ())
    [row] = [line for line in table.splitlines() if line.startswith("| K-c")]
    assert wrong and "no figure" in row


def test_a_ratio_lies_in_its_interval_and_equal_arms_are_equal():
    found, low, high = ratio([2.0, 2.2, 1.8], [1.0, 1.1, 0.9])
    assert found == pytest.approx(2.0) and low <= found <= high
    assert ratio([1.0, 3.0], [1.0, 3.0]) == pytest.approx((1.0, 1.0, 1.0))
    assert ratio([1.0, 3.0, 8.0], [2.0, 6.0])[0] == 0.5  # the third had none beside it


def test_a_bound_inside_the_interval_is_neither_reached_nor_missed():
    for slower, verdict in (([0.9] * 3, ": reached"), ([1.2] * 3, "not reached"), ([0.9, 1.0, 1.2], ": open")):
        [line] = command._verdicts([("K-c", "F0", 1.03)], {"K-c": slower, "F0": [1.0] * 3})
        assert verdict in line


def test_the_tier_of_a_graphics_card_runs_at_a_tiny_size_on_a_processor(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(setting, "VOCABULARY", 64)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # two threads would wait for each other where a core is taken
    small = {"teacher": {"width": 8, "blocks": [1, 1, 1, 1], "bottleneck": False}, "student": {"width": 0.35}}
    monkeypatch.setattr(setting, "IMAGES", {who: spec | small[who] for who, spec in setting.IMAGES.items()})
    arms = {name: OWN[name] for name in ("F0", "F1", "N", "K-c")}
    tables, wrong = zip(*command.parities(tmp_path, quick(CARD), arms, **SMALL), strict=True)
    torch.set_num_threads(threads)
    assert not any(wrong) and all(
        "bf16, " in table and "2 steps, 4 timed turns, 8 of F0 and K-c." in table for table in tables
    )
    assert [table.count("\n| ") - 1 for table in tables] == [4, 5, 5]
    assert all("% of what multiplying matrices of [2048, 2048] reaches in bf16" in table for table in tables)


def test_a_turn_of_several_steps_is_timed_as_one():
    done = Pass(block=2, ends=[0.0, 50.0, 54.0], begins=[0.0, 50.0, 54.0])
    assert done.seconds(2) == pytest.approx([2.0])
    for _ in range(5):
        done._step()
    assert done.steps == 5 and len(done.ends) == 5


def test_a_step_counts_three_times_the_products_of_its_forward_pass(text):
    layer = 4 * 16 * 16 + 2 * 16 * 64  # query, key, value, output; the feed-forward pair
    head = 16 * 16 + 16 * 4
    assert rate.operations(text) == 3 * 2 * text.batch_size * (9 * 2 * layer + head)


def test_the_first_steps_are_not_timed():
    assert Pass(ends=[0.0, 50.0, 51.0, 53.0], begins=[0.0, 50.0, 51.0, 53.0]).seconds(2) == pytest.approx([1.0, 2.0])


def test_what_others_do_between_two_steps_is_not_timed():
    done = Pass(ends=[1.0, 9.0, 18.0, 29.0, 40.0], begins=[8.0, 16.0, 27.0, 39.0, 41.0])
    assert done.seconds(2) == pytest.approx([2.0, 2.0, 1.0])


def test_a_trial_of_the_scaling_curve_is_timed_and_weighed(text):
    threads = torch.get_num_threads()
    found = scaling.trial(text)
    torch.set_num_threads(threads)
    assert 0 < found["epoch"] < 10 and found["memory"] > 100


def test_processes_side_by_side_train_their_passes(text):
    found = recipe.ways(text, ["F0", "N", "K-c"])
    assert found["N"].processes == ("N", 1, False) and found["K-full"].processes == ("K-c", recipe.CORES, True)
    some = {shown: found[shown] for shown in ("N", "K-full")}
    some["again"] = replace(found["N"], setting=replace(text, batch_size=8))
    with recipe.workers([*some.values()]) as started:
        assert started.keys() == {some["N"].processes, some["K-full"].processes}  # both settings by the same
        for (_, count, kept), each in started.items():
            told = [Path(f"/proc/{process.pid}/environ").read_text() for process in each.processes]
            assert len(told) == count and all(("GLIBC_TUNABLES" in environment) == kept for environment in told)
        seconds = recipe.rounds(some, started, 2)
    assert all(len(each) == 2 and 0 < min(each) < 10 for each in seconds.values())


def test_a_rival_that_is_not_installed_is_named_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(rivals, "SITE", tmp_path)
    monkeypatch.setitem(rivals.PACKAGES, "TD", "no-such-package")
    assert "no-such-package" in rivals.missing("TD")


def test_the_timed_step_is_the_optimizers():
    weight = torch.nn.Parameter(torch.ones(1))
    done = Pass()
    rule = done.watch(torch.optim.SGD([weight], lr=0.1))
    weight.grad = torch.ones(1)
    rule.step()
    assert len(done.ends) == 1 and arms.now() >= done.ends[0]
