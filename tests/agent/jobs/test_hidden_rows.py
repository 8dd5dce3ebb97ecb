"""Rows of the embedded tasks lie in packages, out of reach of what trains on them; without a fence they can be read."""

from pathlib import Path

import pytest

from agent import config
from agent.jobs.runner import bundled_data
from sandbox.isolation.backend import Backend
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.process import Process
from tests.sandbox.lab import Lab, needs

READ = """
from baselines.data import docstrings, tasks
from sklearn.datasets import load_digits

def rows(read):
    try:
        return len(read())
    except Exception as error:
        return type(error).__name__

print(rows(lambda: docstrings.read(tasks.CARDS["docstrings"])[1]), rows(lambda: load_digits().target))
"""


@pytest.mark.parametrize(
    ("backend", "read"),
    [
        pytest.param(Process(), "24760 1797", id="process"),
        pytest.param(Bubblewrap(), "BaselineError FileNotFoundError", id="bwrap", marks=needs("bwrap")),
        pytest.param(Landlock(), "BaselineError PermissionError", id="landlock", marks=needs("landlock")),
    ],
)
def test_rows_of_embedded_tasks_are_hidden(backend: Backend, read: str, tmp_path: Path) -> None:
    assert Lab(tmp_path).run(READ, backend, hide=bundled_data()).tail.splitlines()[-1] == read


def test_all_that_is_to_be_hidden_is_there() -> None:
    digits, texts = bundled_data()
    assert (digits / "digits.csv.gz").is_file()
    for card in config.cards(config.TASKS).values():
        assert "rows" not in card or (texts / card["rows"]).is_file()
