import contextlib
import json
import time

import pytest

from agent.errors import ReplyError, UsageError
from agent.llm.reply import code_blocks, json_object, parse_proposal

PROSE = {"title": "A title", "objective": "find out", "hypothesis": "it helps", "methodology": "as usual"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure:\n```json\n{"a": 1}\n```\nor bare {"b": 2}', {"a": 1}),
        ('```json\n{"a": 1}\n```\nno, better\n```json\n{"a": 2}\n```', {"a": 2}),
        ('first {"a": 1} then {"a": 2} with {temperature}', {"a": 2}),
        ('the set {1, 2} and {"a": {"b": [{}]}} at {T}', {"a": {"b": [{}]}}),
        ('He wrote "use {"a": 1}', {"a": 1}),
        ('an open { and {"a": 1}', {"a": 1}),
        ('{"a": "a } brace, a \\" quote and {temperature}"}', {"a": 'a } brace, a " quote and {temperature}'}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ('<think>maybe {"a": 9}</think>{"a": 1}', {"a": 1}),
        ('I think {"a": 9}</think>{"a": 1}', {"a": 1}),
        ('{"a": 1}<think>or {"a": 9}', {"a": 1}),
        ('````json\r\n{"a": "```"}\r\n````', {"a": "```"}),
        ('```json\n{"a": 1}', {"a": 1}),
    ],
)
def test_the_last_object_is_found(text, value):
    assert json_object(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,], "b": 3, // why\n}', {"a": [1, 2], "b": 3}),
        ("{'a': True, 'b': None, 'c': False}", {"a": True, "b": None, "c": False}),
        ("""{'a': 'it\\'s "so"', "b": 'None, ]'}""", {"a": 'it\'s "so"', "b": "None, ]"}),
        ('{"a": "http://x, }", "b": True}', {"a": "http://x, }", "b": True}),
    ],
)
def test_almost_json_is_mended_outside_its_strings(text, value):
    assert json_object(text) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no", "contains no JSON object"),
        ('{"a": 1', "never closed"),
        ('{"a" 1} for {T}', "starts '{\"a\" 1}' cannot be read: Expecting ':'"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ('{"a":' * 9999 + "1" + "}" * 9999, "recursion"),
        ("{1, 2}", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(text, complaint):
    with pytest.raises(ReplyError) as error:
        json_object(text)
    assert complaint in error.value.message


@pytest.mark.parametrize("text", ["{" * 50_000, "{}" * 20_000 + "{", '"' * 50_000, "```\n" * 5_000, "{'" * 20_000])
def test_a_hostile_reply_is_read_in_no_time(text):
    started = time.monotonic()
    with contextlib.suppress(ReplyError):
        json_object(text)
    assert time.monotonic() - started < 3


def test_code_blocks_know_their_language_and_whether_they_end():
    text = "a\n```python\nx = 1\n```\nb\n````\n```\n````\nc\n```py\ny"
    blocks = [(block.info, block.body, block.closed) for block in code_blocks(text)]
    assert blocks == [("python", "x = 1\n", True), ("", "```\n", True), ("py", "y", False)]


def test_a_proposal_is_read_from_prose():
    text = "With {temperature}:\n```json\n" + json.dumps(PROSE | {"method": "kd", "temperature": "4"}) + "\n```"
    assert parse_proposal(text).temperature == 4.0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"method": "magic"}, "- method: unknown method: choose one of dkd, "),
        ({"alpha": 2}, "- alpha: Input should be less than or equal to 1 (got '2')"),
        ({"objective": "gain 3 points"}, "- proposal: objective writes the number '3'"),
        ({"seeds": [1]}, "- seeds: Extra inputs are not permitted"),
        ({"title": None}, "- title: Input should be a valid string"),
    ],
)
def test_every_wrong_field_of_a_proposal_is_named(wrong, complaint):
    with pytest.raises(ReplyError) as error:
        parse_proposal(json.dumps(PROSE | {"method": "kd"} | wrong))
    assert complaint in error.value.message


def test_a_refused_idea_is_a_usage_error():
    with pytest.raises(UsageError) as error:
        parse_proposal("<think>cake?</think>\nREFUSED: a cake\nis no model")
    assert error.value.message == "the idea was refused: a cake is no model"
    assert not isinstance(error.value, ReplyError) and error.value.exit_code == 2
