"""The plan on the terminal: what an imported run wrote is shown, and takes no effect."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from agent.plan.table import plan_table
from agent.record.prepared import Facts, Prepared
from tests.agent.records import Records

HOSTILE = "[red]\x1b[2Jfake\u202e"
SHOWN = "[red]\\x1b[2Jfake\\u202e"


def prepared(called: str) -> Prepared:
    model = {"spec": {}, "class": called, "parameters": 1, "size_mb": 1.0, "layers": 3}
    return Prepared.model_validate(
        {
            "task": {"kind": "image", "labels": ["a", "b"]},
            "models": {"teacher": model, "student": model},
            **{"source": called, "revision": "", "hash": "", "encoded": "", "overlap": 0},
            **{"notes": [called], "rows": {called: 1}, "label_counts": {}},
        }
    )


@pytest.mark.parametrize("called", [HOSTILE, "[/]", "[bold"])
def test_names_and_values_are_text_whatever_they_contain(called: str, tmp_path: Path) -> None:
    plan = Records(tmp_path).plan
    [track] = plan.tracks
    task = track.task.model_copy(update={"source": called, "hash": called})
    teacher = track.teacher.model_copy(update={"checkpoint": called})
    changed = track.model_copy(update={"name": called, "task": task, "teacher": teacher})
    origins = {path.replace(".digits.", f".{called}."): origin for path, origin in plan.provenance.items()}
    plan = plan.model_copy(update={"tracks": (changed,), "provenance": origins, "title": called})
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=200)
    plan_table(console, plan, Facts({called: prepared(called)}, (called,)))
    shown = screen.getvalue()
    assert "\x1b[2J" not in shown and "\u202e" not in shown
    visible = SHOWN if called == HOSTILE else called
    assert shown.count(visible) >= 7  # title, name, source, hash, both models, checkpoint, rows, note and warning
