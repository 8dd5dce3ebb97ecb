"""No hostile workspace gains anything from kdagent; each does from a careless parent, so each test can fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.workspaces.hostile import CONTROLS, WORKSPACES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, object]]:
    words = [sys.executable, "-m", "tests.campaigns.workspaces", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_there_are_36_and_3_controls() -> None:
    assert len({each.name for each in WORKSPACES}) == 36
    assert len(CONTROLS) == 3


@pytest.mark.parametrize("name", [each.name for each in (*WORKSPACES, *CONTROLS)])
def test_workspace_bites_a_careless_parent_and_not_us(rows: dict[str, dict[str, object]], name: str) -> None:
    assert (rows[name]["bites"], rows[name]["holds"]) == (True, True), rows[name]
