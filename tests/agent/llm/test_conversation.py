import hashlib
import json
from pathlib import Path

import pytest

from agent.errors import BudgetError, DriftError, ModelError, ReplyError
from agent.llm.conversation import Conversation, Message, Recorded, Reply, Request
from agent.llm.gateway import REPLY_TOKENS, Gateway
from agent.llm.reply import json_object
from agent.render import render

ASK = [Message("system", "be brief"), Message("user", "plan\nit")]


class Scripted:
    """A source that says what it is told to, and counts."""

    name = "openai"
    model = "tiny"
    metered = True

    def __init__(self, *replies):
        self.replies = list(replies)

    def complete(self, purpose, messages):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return Reply(reply, "tiny-served", "stop", 3, 4)


def recorded(folder, *replies) -> Gateway:
    return Gateway(Scripted(*replies), Conversation(folder), 10**6)


def replayed(record, folder) -> Gateway:
    return Gateway(Recorded(record), Conversation(folder), 10**6)


def parse(text):
    return json_object(text)["a"]


def lines(folder):
    return [json.loads(line) for line in (folder / "exchanges.jsonl").read_text().splitlines()]


def test_every_exchange_is_a_line_and_every_body_bears_its_hash(tmp_path):
    talk = recorded(tmp_path, "one", ModelError("down"), "two", "three")
    talk.complete("plan", ASK)
    with pytest.raises(ModelError):
        talk.complete("plan", ASK)
    talk.complete("plan", ASK)
    talk.complete("edit", ASK)
    written = lines(tmp_path)
    assert [(line["seq"], line["purpose"], line["occurrence"]) for line in written] == [
        (0, "plan", 0), (1, "plan", 1), (2, "plan", 2), (3, "edit", 0),
    ]  # fmt: skip
    assert [line["error"] for line in written] == [None, "down", None, None]
    assert [line["tokens"] for line in written] == [7, 0, 7, 7]
    assert {(line["schema"], line["model"], line["source"]) for line in written} == {(1, "tiny", "openai")}
    assert written[0]["key"] == written[1]["key"] != written[3]["key"]
    blobs = {path.stem: path.read_bytes() for path in (tmp_path / "blobs").iterdir()}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    assert {line[part] for line in written for part in ("request", "reply")} - {None} == set(blobs)
    assert json.loads(blobs[written[0]["request"]])["messages"][1] == {"role": "user", "content": "plan\nit"}
    assert json.loads(blobs[written[3]["reply"]])["text"] == "three"


def test_the_request_is_on_disk_before_it_is_made_and_the_reply_before_it_is_used(tmp_path):
    class Looking(Scripted):
        def complete(self, purpose, messages):
            [blob] = (tmp_path / "blobs").iterdir()
            assert json.loads(blob.read_bytes())["purpose"] == purpose
            return super().complete(purpose, messages)

    def use(text):
        assert [line["error"] for line in lines(tmp_path)] == [None]
        return text

    Gateway(Looking("one"), Conversation(tmp_path), 10**6).ask("plan", ASK, use)


def test_a_replay_is_the_same_conversation_without_a_live_model(tmp_path):
    def run(talk):
        return talk.ask("plan", ASK, parse), talk.ask("edit", ASK, parse), talk.ask("edit", ASK, parse), talk.tokens

    original = run(recorded(tmp_path / "a", '{"a": 1', '{"a": 1}', '{"a": 2}', '{"a": 3}'))
    assert original == (1, 2, 3, 28)
    assert run(replayed(tmp_path / "a", tmp_path / "b")) == original
    strip = [{k: v for k, v in line.items() if k != "source"} for line in lines(tmp_path / "b")]
    assert strip == [{k: v for k, v in line.items() if k != "source"} for line in lines(tmp_path / "a")]


def test_a_replay_follows_a_run_that_failed_and_was_resumed(tmp_path):
    for replies in ([ModelError("down")], ["no"], ['{"a": 1}']):
        try:
            value = recorded(tmp_path / "a", *replies).ask("plan", ASK, parse, rounds=1)
        except ModelError:
            continue
    assert value == replayed(tmp_path / "a", tmp_path / "b").ask("plan", ASK, parse, rounds=1) == 1


def test_a_run_may_be_resumed_with_another_model(tmp_path):
    recorded(tmp_path, '{"a": 1}', "no").complete("plan", ASK)
    recorded(tmp_path, "no").complete("edit", ASK)
    talk = recorded(tmp_path, '{"a": 2}')
    talk.source.model = "big"
    assert talk.ask("plan", ASK, parse) == 1
    with pytest.raises(ModelError):
        talk.ask("edit", ASK, parse, rounds=1)
    assert talk.ask("edit", ASK, parse) == 2
    assert [(line["model"], line["error"] is None) for line in lines(tmp_path)[1:]] == [
        ("tiny", True), ("tiny", False), ("big", True),
    ]  # fmt: skip


def test_a_replay_fails_as_the_run_did(tmp_path):
    with pytest.raises(ModelError) as original:
        recorded(tmp_path / "a", "no", "no").ask("plan", ASK, parse, rounds=2)
    with pytest.raises(ModelError) as again:
        replayed(tmp_path / "a", tmp_path / "b").ask("plan", ASK, parse, rounds=2)
    assert again.value.message == original.value.message
    assert not isinstance(again.value, ReplyError)


def test_a_replay_stops_at_the_budget_where_the_run_did(tmp_path):
    talk = recorded(tmp_path / "a", "one", "two")
    talk.token_budget = REPLY_TOKENS + 40
    talk.complete("plan", ASK)
    again = replayed(tmp_path / "a", tmp_path / "b")
    again.token_budget = talk.token_budget
    again.complete("plan", ASK)
    for gateway in (talk, again):
        with pytest.raises(BudgetError):
            gateway.complete("edit", [Message("user", "x" * 100)])


def test_a_miss_names_the_first_message_that_differs(tmp_path):
    recorded(tmp_path, "one", "two").complete("plan", ASK)
    source = Recorded(tmp_path)
    with pytest.raises(ModelError) as error:
        source.complete("plan", [ASK[0], Message("user", "plan\nher")])
    assert error.value.message == (
        "the record has no reply to plan request 1: message 2 (user) differs: line 2 was 'it', is 'her'"
    )
    with pytest.raises(ModelError, match=r"plan request 2: it has 1$"):
        source.complete("plan", ASK[:1])
    with pytest.raises(ModelError, match=r"edit request 1: it has 0$"):
        source.complete("edit", ASK)


def test_an_extra_request_is_a_miss_and_not_the_last_reply_again(tmp_path):
    recorded(tmp_path, "one").complete("plan", ASK)
    source = Recorded(tmp_path)
    assert source.complete("plan", ASK).text == "one"
    with pytest.raises(ModelError, match="plan request 2: it has 1"):
        source.complete("plan", ASK)


def test_messages_more_or_less_are_a_miss(tmp_path):
    recorded(tmp_path, "one").complete("plan", ASK)
    with pytest.raises(ModelError, match="recorded with 2 messages, not 3"):
        Recorded(tmp_path).complete("plan", [*ASK, Message("user", "more")])


@pytest.mark.parametrize(
    ("damage", "word"), [(lambda b: b.write_text("{}"), "altered"), (lambda b: b.unlink(), "missing")]
)
def test_a_body_that_is_not_its_name_is_refused(tmp_path, damage, word):
    recorded(tmp_path, "one").complete("plan", ASK)
    damage(tmp_path / "blobs" / f"{lines(tmp_path)[0]['reply']}.json")
    with pytest.raises(ModelError, match=word):
        Recorded(tmp_path).complete("plan", ASK)


def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path):
    recorded(tmp_path, "one").complete("plan", ASK)
    with (tmp_path / "exchanges.jsonl").open("a") as file:
        file.write('{"schema": 1, "seq"')
    talk = recorded(tmp_path, "two")
    assert talk.complete("plan", ASK).text == "one"
    assert talk.complete("edit", ASK).text == "two"
    assert [line["seq"] for line in lines(tmp_path)] == [0, 1]


@pytest.mark.parametrize("line", ['{"schema": 2}', "[]", "nonsense"])
def test_an_unreadable_line_is_an_error(tmp_path, line):
    (tmp_path / "exchanges.jsonl").write_text(line + "\n")
    with pytest.raises(ModelError, match=r"exchanges\.jsonl cannot be read"):
        Conversation(tmp_path)


def test_the_key_depends_on_model_purpose_and_messages_alone():
    request = Request("openai", "tiny", "plan", tuple(ASK))
    assert request.key == Request("recorded", "tiny", "plan", tuple(ASK)).key
    others = [
        Request("openai", "big", "plan", tuple(ASK)),
        Request("openai", "tiny", "edit", tuple(ASK)),
        Request("openai", "tiny", "plan", tuple(ASK[::-1])),
    ]
    assert len({request.key, *(other.key for other in others)}) == 4


def test_prompts_render_alike_from_anywhere_and_hold_no_time_or_path(tmp_path, monkeypatch):
    values = {"idea": "KD", "settings": {}, "facts": {"b": 1, "a": ["é", "<x>"]}}
    here = render("prompts/plan.md.j2", **values)
    monkeypatch.chdir(tmp_path)
    assert render("prompts/plan.md.j2", **values) == here
    assert str(tmp_path) not in here and "/home" not in here
    assert '"a": [\n    "é",\n    "<x>"\n  ],\n  "b": 1' in here


def test_reworded_request_gets_the_reply_at_its_place_where_kdagent_has_changed_since(tmp_path: Path) -> None:
    record = Conversation(tmp_path)
    for text in ("first", "second"):
        record.asks(request := Request("openai", "m", "plan", (*ASK, Message("user", text))))
        record.answered(request, Reply(f"reply to {text}", "m", "stop", 1, 1))
    source = Recorded(tmp_path, by_place=True)
    reworded = [Message("user", "worded differently")]
    assert [source.complete("plan", reworded).text for _ in range(2)] == ["reply to first", "reply to second"]
    with pytest.raises(DriftError, match="no reply to plan request 3"):
        source.complete("plan", reworded)
    with pytest.raises(DriftError, match="no reply to edit request 1"):
        source.complete("edit", reworded)
    with pytest.raises(DriftError, match="no reply to plan request 1"):
        Recorded(tmp_path).complete("plan", reworded)


def test_a_request_that_failed_takes_no_place_among_the_replies(tmp_path: Path) -> None:
    record = Conversation(tmp_path)
    record.asks(failed := Request("openai", "m", "plan", ASK))
    record.failed(failed, "refused")
    for text in ("first", "second"):
        record.asks(request := Request("openai", "m", "plan", (*ASK, Message("user", text))))
        record.answered(request, Reply(f"reply to {text}", "m", "stop", 1, 1))
    source = Recorded(tmp_path, by_place=True)
    with pytest.raises(ModelError, match="refused"):
        source.complete("plan", ASK)
    reworded = [Message("user", "worded differently")]
    assert [source.complete("plan", reworded).text for _ in range(2)] == ["reply to first", "reply to second"]
