"""The rule by which the demo's settings are chosen, and what the page shows of it."""

import json
import re
from pathlib import Path

import pytest

from agent import config
from benchmarks.page import DOCS
from tests.campaigns.spread import Arm, arms, main, table

PAGE = (DOCS / "spread.md").read_text(encoding="utf-8")


def arm(*accuracy: float) -> Arm:
    return Arm("docstrings", "vanilla_kd", dict(enumerate(accuracy)))


@pytest.mark.parametrize(
    ("accuracy", "collapsed"),
    [
        ((70.2, 70.0, 68.1, 53.3, 67.5, 71.2), True),  # the run that gave the rule its reason
        ((60.0, 70.0, 80.0, 71.0, 62.0), False),  # 10 points exactly, in a wide arm
        ((59.9, 70.0, 80.0, 71.0, 62.0), True),
        ((97.0, 97.2, 97.4, 97.1, 96.0), True),  # 1.1 points, more than 5 deviations of the others
        ((97.0, 97.2, 97.4, 97.1, 96.7), False),
    ],
)
def test_seed_that_falls_far_below_the_others_has_collapsed(accuracy: tuple[float, ...], collapsed: bool) -> None:
    assert arm(*accuracy).collapsed is collapsed
    assert ("**collapsed**" in table([arm(*accuracy)])) is collapsed


def test_deviations_are_those_of_the_other_seeds() -> None:
    assert arm(70.0, 72.0, 74.0, 62.0).below == pytest.approx(9.0)
    assert arm(70.0, 72.0, 74.0, 62.0).deviations == pytest.approx(4.5)


def test_arms_of_finished_runs_are_read_and_a_collapse_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, last in (("calm", 0.69), ("fallen", 0.5)):
        trials = [{"seed": n, "scores": {"accuracy": x}} for n, x in enumerate((0.7, 0.71, 0.72, last))]
        (tmp_path / name).mkdir()
        said = {"tracks": [{"name": name, "arms": [{"name": "vanilla_kd", "trials": trials}]}]}
        (tmp_path / name / "results.json").write_text(json.dumps(said))
    [found] = arms(tmp_path / "calm" / "results.json")
    assert found.accuracy == pytest.approx({0: 70.0, 1: 71.0, 2: 72.0, 3: 69.0})
    assert main([str(tmp_path / "calm")]) == 0
    assert "**Collapsed: none.**" in capsys.readouterr().out
    assert main([str(tmp_path / "calm"), str(tmp_path / "fallen")]) == 1
    assert "**Collapsed: vanilla_kd on fallen.**" in capsys.readouterr().out


def test_page_shows_every_arm_of_the_demo_over_twenty_seeds_and_no_collapse() -> None:
    shown = re.findall(r"^\| (\w+) \| (\w+) \| (\d+) \|", PAGE, re.MULTILINE)
    names = ("student_only", "vanilla_kd", "pseudo_label", "all_labels", "proposed")
    tasks = config.cards(config.SCALES)["demo"]["tracks"]
    assert shown == [(task, name, "20") for task in tasks for name in names]
    assert "**Collapsed: none.**" in PAGE and "collapsed** |" not in PAGE
