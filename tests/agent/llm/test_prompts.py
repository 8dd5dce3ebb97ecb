"""What a language model is sent is the same from every folder, on every machine and at every time."""

import json
import re
import shutil
import socket
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import config
from agent.jobs.pilot import without_paths
from agent.jobs.runner import Runner
from agent.llm.conversation import Conversation, Request
from agent.llm.prompts import Tried, edit_prompt, plan_prompt, plan_text
from agent.llm.recipes import Recipes
from agent.llm.reply import parse_proposal
from agent.loop.context import Context
from agent.plan import planner
from agent.plan.freeze import freeze
from agent.plan.options import Options
from agent.record.paths import RunPaths
from tests.agent.gates import Gates
from tests.agent.plan.test_planner import proposal

NAMES = st.text(st.sampled_from("abcXYZ0189-_ é"), min_size=1, max_size=12).filter(lambda name: name.strip() == name)
IDEAS = st.sampled_from(["soft labels", "last 3 layers", "efficient KD for small models", "kd with temperature 4"])
PRIVATE = re.compile(r"(?<![\w.:/<])/[A-Za-z]\w*/\w|\b20\d\d-\d\d-\d\d\b|\b20\d{6}-\d{6}\b|\b0x[0-9a-f]{6,}")
"""Folders, dates, ids of runs and addresses."""


def context(folder: Path, idea: str) -> Context:
    """Of a run that only writes prompts: it needs neither gateway nor jobs."""
    options = Options(idea=idea, tasks=("digits",), data_dir="", yes=True)
    environment = {"KDAGENT_CACHE": str(folder / "cache"), "KDAGENT_RUNS": str(folder)}
    nothing = cast(Any, None)
    runner = Runner(RunPaths(folder), config.Settings.read(environment), nothing, nothing, nothing, 0.0)
    return Context(options, nothing, nothing, runner)


def key(purpose: str, messages: Any) -> str:
    return Request("openai", "m", purpose, tuple(messages)).key


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=2, max_size=2, unique=True), idea=IDEAS)
def test_plan_prompts_are_the_same_from_two_folders(tmp_path: Path, names: list[str], idea: str) -> None:
    made = [context(tmp_path / name, idea) for name in names]
    prompts = [plan_prompt(planner.draft(each.options), each.options) for each in made]
    assert len({key("plan", messages) for messages in prompts}) == 1
    assert not PRIVATE.search(prompts[0][1].content) and socket.gethostname() not in prompts[0][1].content


@pytest.mark.slow
def test_edit_prompts_are_the_same_from_two_folders(gates: Gates, tmp_path: Path) -> None:
    keys, base = set(), gates.record["done"]["id"]
    history = [Tried(1, "kept", 0.1 + 0.2)]
    for place in ("short", "a much longer name/of a folder"):
        made = context(tmp_path / place / base, "soft labels")
        shutil.copytree(gates.paths.folder, made.paths.folder)
        source = (config.TRAIN_FILES / "student_only.py").read_text()
        problem = without_paths(crash(made.paths.jobs / "pilot"), made.paths.folder, made.runner.settings.cache)
        messages = edit_prompt(made.plan, source, 2, history, problem)
        keys.add(key("edit", messages))
        assert not PRIVATE.search(messages[1].content) and str(tmp_path) not in messages[1].content
    assert len(keys) == 1


def crash(folder: Path) -> str:
    """What Python says where a train.py in that folder fails inside a library."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text("import json\n\n\ndef train(experiment):\n    json.loads(experiment)\n")
    scope: dict[str, Any] = {}
    exec(compile((folder / "train.py").read_text(), str(folder / "train.py"), "exec"), scope)
    try:
        scope["train"](object())
    except TypeError as error:
        below = error.__traceback__.tb_next if error.__traceback__ else None
        return "".join(traceback.format_exception(error.with_traceback(below)))
    raise AssertionError("it did not fail")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_a_crash_reads_the_same_wherever_it_happened(tmp_path: Path, name: str) -> None:
    said = without_paths(crash(tmp_path / name), tmp_path / name)
    assert 'File "train.py", line 5, in train' in said
    assert 'File "json/__init__.py"' in said
    assert str(tmp_path) not in said and sys.prefix not in said


HOSTILE = st.text(st.sampled_from("`~#>- \n\r\t\x1b\x9b\x7f\u202e\u2066\u200b\u2028ab"), max_size=30).map("Q{}Q".format)


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=HOSTILE, prose=HOSTILE, source=HOSTILE)
def test_foreign_text_stands_between_fences_that_it_cannot_close(
    tmp_path: Path, problem: str, prose: str, source: str
) -> None:
    wanted = context(tmp_path, "soft labels").options
    plan = freeze(planner.draft(wanted), wanted, proposal(), {})
    plan = plan.model_copy(update=dict.fromkeys(("idea", "title", "objective", "hypothesis"), prose))
    asked = edit_prompt(plan, source, 2, [Tried(1, "rejected", None)], problem)[1].content
    asked += plan_text(prose, {"tracks": [prose], prose: 1})
    assert all(sign.isprintable() or sign in "\n\t" for sign in asked)
    fence, outside = "", list[str]()
    for line in asked.split("\n"):
        ticks = re.fullmatch(r" {0,3}(`{3,})(.*)", line)
        if not fence:
            outside.append(line)
            fence = ticks[1] if ticks else ""
        elif ticks and not ticks[2].strip() and len(ticks[1]) >= len(fence):
            fence = ""
    assert not fence and "Q" not in "".join(outside).replace("REQUEST", "")


@pytest.mark.slow
def test_recorded_requests_hold_no_folder_time_or_host(gates: Gates) -> None:
    talk = Conversation(gates.paths.conversation)
    for exchange in talk.exchanges:
        for message in talk.body(exchange.request)["messages"]:
            assert not PRIVATE.search(message["content"]), PRIVATE.search(message["content"])
            assert gates.paths.id not in message["content"] and socket.gethostname() not in message["content"]


def test_other_settings_of_the_machine_do_not_reach_a_prompt(tmp_path: Path) -> None:
    made = context(tmp_path, "soft labels")
    known = made.runner.settings
    other = replace(known, cache=tmp_path / "elsewhere", api_key="sk-secret", base_url="http://other/v1")
    again = Context(made.options, made.gateway, made.jobs, replace(made.runner, settings=other))
    first, second = (plan_prompt(planner.draft(each.options), each.options) for each in (made, again))
    assert key("plan", first) == key("plan", second)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_author_is_told_that_the_student_is_compiled(tmp_path: Path, compiled: bool) -> None:
    made = context(tmp_path, "soft labels")
    wanted = replace(made.options, values={"compiled": compiled})
    plan = freeze(planner.draft(wanted), wanted, proposal(), {})
    made.paths.plan.write_text(plan.model_dump_json(by_alias=True))
    prompt = edit_prompt(made.plan, "pass", 1, [])[1].content
    assert ("The student is compiled" in prompt) is compiled


def test_a_value_for_one_track_alone_is_not_proposed_for_the_others(tmp_path: Path) -> None:
    options = Options(idea="last 3 layers", values={"docstrings.training.epochs": 3.0, "temperature": 5.0})
    draft = planner.draft(options)
    prompt = plan_prompt(draft, options)[1].content
    facts = json.loads(prompt.rpartition("```json\n")[2].partition("\n```")[0])
    assert facts["fixed_by_user"] == {"temperature": 5.0}
    proposal = parse_proposal(Recipes().complete("plan", plan_prompt(draft, options)).text)
    planner.merge(draft, proposal)
    assert draft.value("tracks.docstrings.training.epochs") == 3.0
    assert draft.value("tracks.digits.training.epochs") != 3.0 and proposal.epochs is None
