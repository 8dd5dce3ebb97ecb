"""Out of memory is answered by the harness, never by the author: smaller micro-batches, the same batch, on record."""

import json
from pathlib import Path

import pytest

from agent.record.paths import RunPaths
from agent.results.schema import Results
from tests.agent.command import TINY, Kdagent
from tests.agent.loop.test_endpoint_run import GOOD, PLAN, SQUARED, block
from tests.agent.loopback import LoopbackModel

pytestmark = pytest.mark.slow
BALLAST = """        self.ballast = None
        self.ballast = torch.ones(len(inputs["labels"]), 1 << 21)
"""
"""8 MiB per row: a batch of 64 takes 512 MiB, for a second or two: the supervisor looks five times a second."""
HEAVY = GOOD.replace(SQUARED, BALLAST + SQUARED.replace("alpha * soft", "alpha * soft + 0 * self.ballast.mean()"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunPaths:
    kdagent = Kdagent(tmp_path_factory.mktemp("memory") / "runs", cache)
    imports = block("from transformers import Trainer\n", "import torch\nfrom transformers import Trainer\n")
    with LoopbackModel([PLAN, HEAVY + imports]) as server:
        endpoint = ("--model", "tiny", "--base-url", server.base_url)
        little = ("--seeds", "1", "--set", "budget.memory_mb=1600", "--set", "epochs=4")
        said = kdagent("run", "match the logits", *TINY, *little, *endpoint, "--yes")
    assert said.code == 0, said.err
    [folder] = kdagent.runs.iterdir()
    return RunPaths(folder)


def test_trial_that_ran_out_of_memory_is_trained_in_micro_batches(paths: RunPaths) -> None:
    report = json.loads((paths.trial("attempt-1", "digits", 0) / "trial.json").read_text())
    assert report["status"] == "ok" and report["micro"] > 1
    assert json.loads((paths.trial("vanilla_kd", "digits", 0) / "trial.json").read_text())["micro"] == 1


def test_batch_and_steps_are_the_planned_ones(paths: RunPaths) -> None:
    results = Results.model_validate_json(paths.results.read_text())
    rows = {row.field: row for row in results.tracks[0].fields}
    for field in ("training.batch_size", "training.accumulation", "training.epochs", "samples"):
        assert rows[field].status == "MATCH", rows[field]


def test_report_says_what_was_split(paths: RunPaths) -> None:
    assert "memory ran out, so attempt-1 seed 0 was trained in " in paths.report.read_text()


def test_author_was_not_asked_again(paths: RunPaths) -> None:
    lines = (paths.conversation / "exchanges.jsonl").read_text().splitlines()
    assert [json.loads(line)["purpose"] for line in lines] == ["plan", "edit"]
