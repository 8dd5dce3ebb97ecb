"""How a process that the harness starts begins and ends."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.__main__ import PROCESSES, main
from baselines.data.job_files import JOBS
from baselines.errors import BaselineError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def work(monkeypatch):
    """Stands in for a step of a run: keeps the jobs it was given, and fails as a job says."""
    import baselines.processes.probe

    done = []

    def stand_in(job: dict) -> None:
        done.append((job["seen"], gc.isenabled()))
        if job["seen"] == "bad":
            raise BaselineError("rows: no column 'text'", "name the column")

    monkeypatch.setattr(baselines.processes.probe, PROCESSES["probe"], stand_in)
    yield done
    gc.unfreeze()


def jobs(folder: Path, *names: str, process: str = "probe") -> list[str]:
    """Job files with the fields that the process reads, of which `seen` is the name."""
    files = [folder / f"{name}.json" for name in names]
    for file in files:
        fields = dict.fromkeys(JOBS[process].__required_keys__, "") | {"out": str(folder)}
        said = {"seen": file.stem, "units": []} if process == "probe" else {"units": []}
        file.write_text(json.dumps(fields | said))
    return [str(file) for file in files]


def test_each_job_is_done_with_its_garbage_collected(tmp_path, work):
    assert main("probe", *jobs(tmp_path, "one", "two")) == 0
    assert work == [("one", True), ("two", True)]
    assert gc.get_freeze_count() > 100_000  # what was imported is not searched


def test_job_that_explains_itself_leaves_an_error_and_ends_the_process(tmp_path, work, capsys):
    assert main("probe", *jobs(tmp_path, "one", "bad", "two")) == 2
    assert [name for name, _ in work] == ["one", "bad"]
    said = {"message": "rows: no column 'text'", "hint": "name the column"}
    assert json.loads((tmp_path / "error.json").read_text()) == said
    assert capsys.readouterr().err.splitlines() == [*said.values()]


def test_job_that_breaks_ends_with_its_traceback(tmp_path):
    [file] = jobs(tmp_path, "empty", process="predict")
    argv = [sys.executable, "-m", "baselines", "predict", file]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and "set_num_threads expects an int" in ended.stderr.splitlines()[-1]


def test_nothing_that_was_written_is_lost_when_a_process_ends(tmp_path):
    """It leaves without Python's own tidying up, which is what would have written the rest."""
    code = f"""
import runpy, sys, types
module = types.ModuleType("baselines.processes.probe")
module.probe = lambda job: sys.stdout.write("x" * 100_001)
sys.modules["baselines.processes.probe"] = module
sys.argv = ["baselines", "probe", {jobs(tmp_path, "one")[0]!r}]
runpy.run_module("baselines", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stdout)) == (0, 100_001)
