"""Whole runs in which a language model takes part: a scripted one on a loopback port, driven by the real command."""

import json
from pathlib import Path

import pytest

from agent.record.events import EventLog
from agent.record.files import file_hash
from agent.record.paths import RunPaths
from agent.results.schema import Results
from sandbox.workspace import Workspace
from tests.agent.command import TINY, Kdagent
from tests.agent.gates import Gates
from tests.agent.loopback import LoopbackModel, Received

pytestmark = pytest.mark.slow
KEY = "sk-loopback-0123456789abcdef"
CANARIES = {"HF_TOKEN": "hf_canary0123456789", "AWS_SECRET_ACCESS_KEY": "aws-canary-0123456789"}
"""Secrets of the user that nothing asked for."""
PLAN = """I looked at the facts {carefully}. Here is the plan, with {temperature} left as it is:

```json
{"title": "Matching logits", "objective": "See whether a squared error on logits distils.",
 "hypothesis": "The student gains from it with weight {alpha}.", "methodology": "Squared error on logits.",
 "method": "kd", "alpha": 0.9}
```
I hope this helps!"""

LOSS = '        loss = cross_entropy(outputs.logits, inputs["labels"])\n        self.experiment.log(task=loss)\n'
ROWS = "        train_dataset=experiment.train_dataset,\n"
POOL = "        train_dataset=experiment.train_dataset + experiment.transfer_dataset,\n"
SQUARED = """        task = cross_entropy(outputs.logits, inputs["labels"])
        soft = (outputs.logits - inputs["teacher_logits"]).square().mean()
        alpha = self.experiment.method.alpha
        loss = (1 - alpha) * task + alpha * soft
        self.experiment.log(task=task, distillation=soft)
"""


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


MISSES = f"You sent the key {KEY}.\n\n" + block("        loss = no_such_line\n", SQUARED)
NOTHING = block(LOSS, LOSS)
LITERAL = block(LOSS, SQUARED.replace("self.experiment.method.alpha", "0.5"))
CRASHES = block(LOSS, SQUARED.replace("method.alpha", "method.tau"))
GOOD = f"A squared error on logits, for all rows.\n\n{block(LOSS, SQUARED)}\n{block(ROWS, POOL)}"


class Talk:
    """The run, and what the model was sent."""

    def __init__(self, kdagent: Kdagent, requests: list[Received]) -> None:
        [folder] = kdagent.runs.iterdir()
        self.kdagent, self.paths, self.requests = kdagent, RunPaths(folder), requests
        self.results = Results.model_validate_json(self.paths.results.read_text())

    def last_message(self, request: int) -> str:
        return str(self.requests[request].body["messages"][-1]["content"])


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Talk:
    """Three useless edits end the run; resumed, the model crashes once and is repaired."""
    kdagent = Kdagent(tmp_path_factory.mktemp("talk") / "runs", cache, {"KDAGENT_API_KEY": KEY} | CANARIES)
    with LoopbackModel([PLAN, MISSES, NOTHING, LITERAL, CRASHES, GOOD]) as server:
        endpoint = ("--model", "tiny", "--base-url", server.base_url)
        said = kdagent("run", "match the logits", *TINY, "--seeds", "1", *endpoint, "--yes")
        assert said.code == 3, said.err
        assert "edit: no usable reply in 3 rounds; finally: " in said.err and "resume" in said.err
        said = kdagent("resume", "@last")
        assert said.code == 0, said.err
    return Talk(kdagent, server.requests)


def test_plan_wrapped_in_prose_is_understood(talk: Talk) -> None:
    plan = talk.results.plan
    assert (plan.title, plan.tracks[0].method.name, plan.tracks[0].method.alpha) == ("Matching logits", "kd", 0.9)
    assert plan.provenance["tracks.digits.method.alpha"] == "model"
    assert plan.provenance["tracks.digits.training.epochs"] == "user"
    assert "match the logits" in talk.last_message(0)


def test_useless_edits_go_back_with_their_reasons(talk: Talk) -> None:
    assert "does not occur" in talk.last_message(2)
    assert "changes nothing" in talk.last_message(3)
    assert len(talk.requests) == 6


def test_forbidden_number_is_named_with_its_line(talk: Talk) -> None:
    [spoilt] = [line for line in exchanges(talk.paths) if line["error"]]
    assert "`alpha` is written as a number" in spoilt["error"] and "train.py:" in spoilt["error"]


def test_resumed_run_asks_for_the_edit_anew_and_not_for_the_plan(talk: Talk) -> None:
    assert talk.requests[4].body == talk.requests[1].body
    assert [line["purpose"] for line in exchanges(talk.paths)] == ["plan"] + 6 * ["edit"]


def test_crash_in_the_pilot_goes_back_with_its_traceback(talk: Talk) -> None:
    told = talk.last_message(5)
    assert "AttributeError: the plan has no method setting 'tau'" in told
    assert "in compute_loss" in told and "failed before it could train" in told


def test_the_models_own_loss_is_what_was_trained_and_compared(talk: Talk) -> None:
    [attempt] = talk.results.attempts
    assert (attempt.number, attempt.outcome) == (1, "kept")
    assert ".square().mean()" in talk.results.code.updated and "+        soft = " in talk.results.code.diff
    assert Workspace.open(talk.paths.repository).read(attempt.commit) == talk.results.code.updated
    [track] = talk.results.tracks
    proposed = next(arm for arm in track.arms if arm.name == "proposed")
    assert len(proposed.trials) == 1 and proposed.commit == attempt.commit
    assert {comparison.benchmark for comparison in track.comparisons} >= {"student_only", "vanilla_kd"}
    guards = {guard.name: guard for guard in track.guards}
    for name in ("every trial finished", "distillation term", "same initial weights", "weights changed"):
        assert guards[name].outcome == "pass", guards[name].detail
    executed = guards["executed as planned"]  # this loss has no use for the temperature that the plan holds
    assert (executed.outcome, executed.detail) == ("not_run", "not seen: method.temperature")


def test_another_run_with_the_same_settings_trains_reference_arms_to_the_same_bits(talk: Talk, gates: Gates) -> None:
    """That other run was interrupted, which leaves no trace in what it found."""
    for arm in ("student_only", "vanilla_kd", "pseudo_label", "all_labels"):
        for name in ("weights.safetensors", "test.safetensors"):
            ours, theirs = (paths.trial(arm, "digits", 0) / name for paths in (talk.paths, gates.paths))
            assert file_hash(ours) == file_hash(theirs)
    ours, theirs = (run.results.tracks[0].arms[:4] for run in (talk, Talk(gates.kdagent, [])))
    assert [arm.trials[0] for arm in ours] == [arm.trials[0] for arm in theirs]


def test_each_repaired_edit_is_a_commit_of_its_own(talk: Talk) -> None:
    attempts = [event["data"] for event in EventLog(talk.paths.events).read() if event["kind"] == "attempt"]
    assert [attempt["number"] for attempt in attempts] == [1, 1]
    workspace = Workspace.open(talk.paths.repository)
    assert ["method.tau" in workspace.read(attempt["commit"]) for attempt in attempts] == [True, False]


def test_every_request_and_reply_is_on_record(talk: Talk) -> None:
    bodies = [json.loads(path.read_text()) for path in (talk.paths.conversation / "blobs").iterdir()]
    texts = {body["text"] for body in bodies if "text" in body}
    assert texts == {PLAN, MISSES.replace(KEY, "[key]"), NOTHING, LITERAL, CRASHES, GOOD}
    sent = [body["messages"] for body in bodies if "messages" in body]
    assert all(request.body["messages"] in sent for request in talk.requests)
    assert talk.results.tokens == 6 * 18


def test_key_reaches_the_endpoint_and_no_secret_any_file_or_prompt(talk: Talk) -> None:
    """The model even says the key aloud."""
    assert {request.headers["authorization"] for request in talk.requests} == {f"Bearer {KEY}"}
    files = [path for path in talk.paths.folder.parent.parent.rglob("*") if path.is_file()]
    assert len(files) > 50
    for secret in (KEY, *CANARIES.values()):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
        assert not any(secret in json.dumps(request.body) for request in talk.requests)


def test_report_says_that_a_language_model_took_part(talk: Talk) -> None:
    report = talk.paths.report.read_text()
    assert "The language model tiny took part (source: openai; 108 tokens)" in report
    assert "No language model took part" not in report
    assert "soft = (outputs.logits - inputs" in report


def test_no_request_leaves_where_the_token_budget_is_too_small(kdagent: Kdagent) -> None:
    with LoopbackModel([PLAN]) as server:
        endpoint = ("--model", "tiny", "--base-url", server.base_url, "--max-tokens", "1000")
        said = kdagent("run", "match the logits", *TINY, *endpoint, "--yes", KDAGENT_API_KEY=KEY)
    assert said.code == 3 and server.requests == []
    assert said.err.startswith("kdagent: token budget: the next request (plan) may take ")
    [folder] = kdagent.runs.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"


def exchanges(paths: RunPaths) -> list[dict[str, str]]:
    return [json.loads(line) for line in (paths.conversation / "exchanges.jsonl").read_text().splitlines()]
