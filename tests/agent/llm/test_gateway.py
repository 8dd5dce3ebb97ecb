"""The real openai client against a server that misbehaves."""

import json
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from agent.errors import BudgetError, CredentialsError, EditError, ModelError, UsageError
from agent.llm.conversation import Conversation, Message
from agent.llm.edits import apply
from agent.llm.gateway import REPLY_TOKENS, Endpoint, Gateway
from agent.llm.prompts import plan_text
from agent.llm.recipes import Recipes
from agent.llm.reply import json_object, parse_proposal
from tests.agent.loopback import LoopbackModel, fails, refuses, says, sends, stalls

KEY = "sk-loopback-0123456789abcdef"
ASK = [Message("system", "be brief"), Message("user", "plan it")]
SOURCE = "import torch\n\n\ndef train(experiment):\n    loss = 1\n    return experiment.student\n"
PROPOSAL = {
    "title": "A title",
    "objective": "find out",
    "hypothesis": "it helps",
    "methodology": "as usual",
    "method": "kd",
}
BLOCK = "<<<<<<< SEARCH\n    loss = {}\n=======\n    loss = {}\n>>>>>>> REPLACE\n"


class Waits(list[float]):
    """Stands in for sleeping, and remembers how long."""

    __call__ = list.append


def gateway(server, folder: Path, budget: int = 10**6, **options) -> Gateway:
    endpoint = Endpoint("tiny", server.base_url, **{"api_key": KEY, "wait": Waits(), **options})
    return Gateway(endpoint, Conversation(folder), budget)


def test_importing_the_language_model_side_imports_no_heavy_package():
    heavy = "{'openai', 'jinja2', 'torch', 'httpx2'}"
    code = f"import sys, agent.llm.gateway, agent.llm.recipes; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "set()\n"


def test_request_holds_model_messages_limit_and_key(tmp_path):
    with LoopbackModel(["hello"]) as server:
        reply = gateway(server, tmp_path).complete("plan", ASK)
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "plan it"}],
        "max_tokens": REPLY_TOKENS,
    }
    assert (reply.text, reply.model, reply.finish, reply.tokens) == ("hello", "tiny-served", "stop", 18)


def test_json_wrapped_in_prose_is_found(tmp_path):
    wrapped = f"<think>{{not this}}</think>Sure! With {{temperature}}:\n{json.dumps(PROPOSAL)}\nHope that helps {{T}}."
    with LoopbackModel([wrapped]) as server:
        assert gateway(server, tmp_path).ask("plan", ASK, parse_proposal).method == "kd"
    assert len(server.requests) == 1


def test_broken_json_goes_back_verbatim_with_the_models_own_reply(tmp_path):
    with LoopbackModel(['{"method": kd}', json.dumps(PROPOSAL)]) as server:
        assert gateway(server, tmp_path).ask("plan", ASK, parse_proposal).title == "A title"
    with pytest.raises(ModelError) as error:
        json_object('{"method": kd}')
    first, second = (request.body["messages"] for request in server.requests)
    assert second == [
        *first,
        {"role": "assistant", "content": '{"method": kd}'},
        {"role": "user", "content": error.value.message},
    ]


def test_invalid_fields_go_back_by_name(tmp_path):
    wrong = PROPOSAL | {"temperature": -1, "title": "T is 4", "seed": 7}
    with LoopbackModel([json.dumps(wrong), json.dumps(PROPOSAL)]) as server:
        gateway(server, tmp_path).ask("plan", ASK, parse_proposal)
    complaint = server.requests[1].body["messages"][-1]["content"]
    assert "- temperature: Input should be greater than 0 (got '-1')" in complaint
    assert "- seed: Extra inputs are not permitted" in complaint


def test_edits_that_miss_or_change_nothing_are_asked_for_again(tmp_path):
    with LoopbackModel([BLOCK.format(3, 4), BLOCK.format(1, 1), BLOCK.format(1, 2)]) as server:
        edited = gateway(server, tmp_path).ask("edit", ASK, lambda text: apply(text, SOURCE))
    assert edited == SOURCE.replace("loss = 1", "loss = 2")
    assert "does not occur" in server.requests[1].body["messages"][-1]["content"]
    assert "changes nothing" in server.requests[2].body["messages"][-1]["content"]


def test_rounds_are_bounded_and_the_last_reason_and_record_are_named(tmp_path):
    with LoopbackModel(lambda _: "no idea") as server, pytest.raises(ModelError) as error:
        gateway(server, tmp_path).ask("plan", ASK, parse_proposal)
    assert len(server.requests) == 3
    assert error.value.exit_code == 3 and not isinstance(error.value, EditError)
    assert "plan: no usable reply in 3 rounds; finally: the reply contains no JSON object" in error.value.message
    assert str(tmp_path) in error.value.hint


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (refuses("I cannot help with that"), "the request was refused: I cannot help with that"),
        (says("half a pl", finish="content_filter"), "the request was refused: half a pl"),
        (says(json.dumps(PROPOSAL), finish="length"), "cut off at its length limit"),
        (says(""), "contains no JSON object"),
    ],
    ids=["refusal", "content filter", "truncated", "empty"],
)
def test_no_real_reply_is_asked_for_again(tmp_path, bad, complaint):
    with LoopbackModel([bad, json.dumps(PROPOSAL)]) as server:
        gateway(server, tmp_path).ask("plan", ASK, parse_proposal)
    assert complaint in server.requests[1].body["messages"][-1]["content"]


def test_what_parse_raises_beyond_a_reply_error_passes_at_once(tmp_path):
    with (
        LoopbackModel(["REFUSED: a cake is no\nmodel"]) as server,
        pytest.raises(UsageError, match="a cake is no model"),
    ):
        gateway(server, tmp_path).ask("plan", ASK, parse_proposal)
    assert len(server.requests) == 1


def test_rate_limit_waits_as_long_as_it_is_told(tmp_path):
    waits = Waits()
    with LoopbackModel([fails(429, headers={"retry-after": "7.5"}), fails(503), "ok"]) as server:
        assert gateway(server, tmp_path, wait=waits).complete("plan", ASK).text == "ok"
    assert waits == [7.5, 2.0]


def test_a_wait_too_long_is_not_waited_for(tmp_path):
    waits = Waits()
    with LoopbackModel([fails(429, headers={"retry-after": "86400"})]) as server, pytest.raises(ModelError):
        gateway(server, tmp_path, wait=waits).complete("plan", ASK)
    assert waits == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_failures_are_tried_four_times_in_all(tmp_path, status):
    waits = Waits()
    with LoopbackModel(lambda _: fails(status, "over\nloaded")) as server, pytest.raises(ModelError) as error:
        gateway(server, tmp_path, wait=waits).complete("plan", ASK)
    assert waits == [1.0, 2.0, 4.0] and len(server.requests) == 4
    assert error.value.message == f"{server.base_url} answered {status} (tried 4 times): over loaded"


@pytest.mark.parametrize("status", [400, 404, 413])
def test_lasting_failures_are_not_tried_again(tmp_path, status):
    with LoopbackModel([fails(status, "no model tiny")]) as server, pytest.raises(ModelError, match="no model tiny"):
        gateway(server, tmp_path).complete("plan", ASK)
    assert len(server.requests) == 1


def test_a_stall_ends_at_the_time_out(tmp_path):
    with LoopbackModel([stalls(), "late but well"]) as server:
        assert gateway(server, tmp_path, timeout=0.2).complete("plan", ASK).text == "late but well"


def test_a_server_that_always_stalls_is_reported_in_one_line(tmp_path):
    with LoopbackModel(lambda _: stalls()) as server, pytest.raises(ModelError) as error:
        gateway(server, tmp_path, timeout=0.1).complete("plan", ASK)
    assert error.value.message == f"{server.base_url} did not answer within 0.1 s (tried 4 times)"


def test_a_server_that_is_down_is_named_with_a_way_out(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://somebody:secret@127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(ModelError) as error:
            Endpoint("tiny", base_url, wait=Waits()).complete("plan", ASK)
    assert error.value.message.startswith(base_url.replace("somebody:secret@", ""))
    assert "\n" not in error.value.message and "secret" not in error.value.message
    assert error.value.hint == "start the server, or leave out --base-url to use the embedded recipes"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_a_credentials_error(tmp_path, status):
    with (
        LoopbackModel([fails(status, f"Incorrect API key provided: {KEY}.")]) as server,
        pytest.raises(CredentialsError) as error,
    ):
        gateway(server, tmp_path).complete("plan", ASK)
    assert error.value.exit_code == 4 and len(server.requests) == 1
    assert "KDAGENT_API_KEY" in error.value.hint and "OPENAI_API_KEY" in error.value.hint
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_openai_without_a_key_fails_before_any_request(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # the caller decides which key is used; the client must not find its own
    with pytest.raises(CredentialsError, match=r"api\.openai\.com"):
        Endpoint("gpt")


def test_a_local_server_needs_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackModel(["ok"]) as server:
        assert Endpoint("tiny", server.base_url).complete("plan", ASK).text == "ok"
    assert KEY not in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    "base_url", ["localhost:8000/v1", "ftp://x/v1", "http://", "http://x:port/v1", "http://[::1/v1"]
)
def test_an_address_that_is_none_is_a_usage_error(base_url):
    with pytest.raises(UsageError, match="--base-url"):
        Endpoint("tiny", base_url)


def test_a_parameter_the_server_refuses_is_left_out_from_then_on(tmp_path):
    refusal = fails(400, "Unsupported parameter: 'max_tokens'.", param="max_tokens", code="unsupported_parameter")
    with LoopbackModel([refusal, "one", "two"]) as server:
        talk = gateway(server, tmp_path)
        assert [talk.complete("plan", ASK).text, talk.complete("edit", ASK).text] == ["one", "two"]
    assert ["max_tokens" in request.body for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}'])
def test_an_answer_that_is_no_completion_is_a_model_error(tmp_path, body):
    with LoopbackModel([sends(body)]) as server, pytest.raises(ModelError) as error:
        gateway(server, tmp_path).complete("plan", ASK)
    assert error.value.message.startswith(server.base_url)


def test_half_a_character_does_not_stop_the_record(tmp_path):
    body = b'{"model": "m", "choices": [{"message": {"content": "\\ud83d"}, "finish_reason": "stop"}]}'
    with LoopbackModel([sends(body)]) as server:
        assert gateway(server, tmp_path).complete("plan", ASK).text == "?"


def test_tokens_the_server_does_not_count_are_overestimated(tmp_path):
    with LoopbackModel([says("word " * 300, tokens=None)]) as server:
        talk = gateway(server, tmp_path)
        talk.complete("plan", ASK)
    assert talk.tokens > 300


def test_no_request_leaves_once_it_could_overspend(tmp_path):
    with LoopbackModel([says("ok", tokens=(20, 80)), "never"]) as server:
        talk = gateway(server, tmp_path, budget=REPLY_TOKENS + 100)
        talk.complete("plan", ASK)
        with pytest.raises(BudgetError) as error:
            talk.complete("edit", ASK)
    assert len(server.requests) == 1 and talk.tokens == 100
    assert error.value.exit_code == 3 and str(REPLY_TOKENS) in error.value.message


def test_recipes_spend_no_budget(tmp_path):
    talk = Gateway(Recipes(), Conversation(tmp_path), 0)
    prompt = plan_text("efficient KD", {"tracks": [], "fixed_by_user": {}})
    assert talk.ask("plan", [Message("user", prompt)], parse_proposal).method == "kd_selective"
    assert talk.tokens == 0


def test_the_key_is_in_no_file_no_reply_and_no_repr(tmp_path):
    with LoopbackModel([f"your key is {KEY}", fails(400, f"bad {KEY}"), fails(401, KEY)]) as server:
        talk = gateway(server, tmp_path)
        reply = talk.complete("plan", ASK)
        for purpose in ("edit", "again"):
            with pytest.raises((ModelError, CredentialsError)):
                talk.complete(purpose, ASK)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 4
    assert KEY not in "".join([*written, repr(reply), repr(talk), repr(talk.source)])


def test_a_resumed_run_does_not_pay_twice(tmp_path):
    with LoopbackModel(["first", "second"]) as server:
        talk = gateway(server, tmp_path)
        before = [talk.complete("plan", ASK), talk.complete("plan", ASK)]
        resumed = gateway(server, tmp_path)
        assert [resumed.complete("plan", ASK), resumed.complete("plan", ASK)] == before
    assert len(server.requests) == 2 and resumed.tokens == talk.tokens == 36


def test_a_resumed_run_asks_again_where_the_model_had_failed(tmp_path):
    with LoopbackModel([fails(404), "no idea", json.dumps(PROPOSAL)]) as server:
        with pytest.raises(ModelError):
            gateway(server, tmp_path).complete("plan", ASK)
        with pytest.raises(ModelError):
            gateway(server, tmp_path).ask("plan", ASK, parse_proposal, rounds=1)
        assert gateway(server, tmp_path).ask("plan", ASK, parse_proposal, rounds=1).method == "kd"
