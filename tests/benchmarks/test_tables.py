"""The tables of whole runs and of growth say what was measured, and whether a bound was met."""

import json
from pathlib import Path

from baselines.processes.pace import Turns
from benchmarks import compiled, scaling, whole


def test_a_run_is_held_against_the_sum_of_its_trainings_and_a_second_one_against_it() -> None:
    alone = {"teacher-digits": (10.0, 1), "kd digits": (5.0, 6)}
    slow, fast = whole._ratios((60.0, Path()), (20.0, Path()), alone)
    assert "its 7 trainings alone take 40 s: 1.50, to be at most 1.25: **not reached**" in slow
    assert "took 20 s: 0.33 of the first" in fast and fast.endswith(": reached")


def test_what_no_phase_accounts_for_is_shown_too(tmp_path) -> None:
    runs = []
    for name, phases in (("one", {"teachers": 4.0, "train": 5.0}), ("two", {"train": 1.0})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clock.json").write_text(json.dumps({"phases": phases}))
        runs.append((12.0, tmp_path / name))
    table = whole._phases(*runs)
    assert "| teachers | 4.0 |  |" in table and table[-1] == "| everything else | 3.0 | 11.0 |"


def test_growth_is_shown_beside_its_share_of_the_largest() -> None:
    sizes = ((1000, 1.5, 2.0, 500.0), (10_000, 10.0, 16.0, 509.0))
    found = [
        {"rows": rows, "cache": cache, "epoch": epoch, "bytes": 16 * rows, "memory": memory}
        for rows, cache, epoch, memory in sizes
    ]
    text = scaling.table(found)
    assert "| 1,000 | 1.5 (1.0) | 2.0 (1.6) | 16 | 500 |" in text
    assert "memory grows by 1000 bytes per row" in text
    # one pass of the teacher is 10/16 of an epoch: 20 trials of 3 epochs online cost 60 · 1.625 / (60 + 0.625)
    assert f"| 20 × 3 | {60 * 1.625 / 60.625:.2f} |" in text


def test_compiling_is_even_when_the_steps_have_saved_what_it_took() -> None:
    usual, again, anew = (Turns([first] + [2.0] * 9, "compiled") for first in (2.0, 7.0, 30.0))
    saved = Turns([31.0, 1.0] + [1.0] * 8, "compiled")
    assert compiled.line("a", usual, saved, again, anew).endswith("| 0.50 (0.50–0.50) | 30 | 5 | 30 steps | yes |")
    lost = Turns([30.0, 2.0] + [2.0] * 8, "otherwise")
    assert compiled.line("a", usual, lost, again, anew).endswith("| 28 | 5 | never | **no** |")
