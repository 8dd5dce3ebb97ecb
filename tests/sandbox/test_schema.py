from collections.abc import Callable
from typing import Any

import pytest

from sandbox.schema import (
    anything,
    choice,
    digest,
    either,
    holding,
    integer,
    items,
    mapping,
    number,
    record,
    tagged,
    text,
)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (integer(0, 3), 3),
        (number(0, 3), 0.5),
        (number(0, 3), 3),
        (text(3), "né\n"),
        (digest(4), "00af"),
        (choice("ok", None), "ok"),
        (choice("ok", None), None),
        (either(choice("auto"), number(0, 1)), 1),
        (either(choice("auto"), number(0, 1)), "auto"),
        (items(integer(0, 3), 2), [0, 3]),
        (mapping(integer(0, 3), 2), {"a": 0, "b": 3}),
        (record({"a": integer(0, 3), "b?": text(3)}), {"a": 1}),
        (record({"a": integer(0, 3), "b?": text(3)}), {"a": 1, "b": "x"}),
        (tagged("event", {"end": record({"event": text(9), "step": integer(0, 3)})}), {"event": "end", "step": 2}),
        (anything, float("nan")),
    ],
)
def test_what_is_wanted_passes(check: Callable[[Any], str], value: Any) -> None:
    assert check(value) == ""


@pytest.mark.parametrize(
    ("check", "value", "complaint"),
    [
        (integer(0, 3), 4, "is 4, not a whole number from 0 to 3"),
        (integer(0, 3), 1.0, "is 1.0, not a whole number from 0 to 3"),
        (integer(0, 3), True, "is True, not a whole number from 0 to 3"),
        (integer(0, 3), 10**40, "is a number of more than 30 digits, not a whole number from 0 to 3"),
        (number(0, 3), False, "is False, not a number from 0 to 3"),
        (number(0, 3), "1", "is '1', not a number from 0 to 3"),
        (number(0, 3), float("nan"), "is nan, not a number from 0 to 3"),
        (text(3), "four", "is 'four', not text of at most 3 characters"),
        (text(3), "\x1b[2J\u202e", r"is '\x1b[2J\u202e', not text of at most 3 characters"),
        (text(3), "x" * 50, f"is '{'x' * 40}'…, not text of at most 3 characters"),
        (digest(4), "00AF", "is '00AF', not 4 hexadecimal digits"),
        (choice("ok", "failed"), "fine", "is 'fine', not in ('ok', 'failed')"),
        (choice("1"), 1, "is 1, not in ('1',)"),
        (choice(True), 1, "is 1, not in (True,)"),
        (either(choice("auto"), number(0, 1)), 2, "is 2, not a number from 0 to 1"),
        (items(integer(0, 3), 2), [0, 1, 2], "is a list of 3, not a list of at most 2"),
        (items(integer(0, 3), 2), [0, 4], "[1] is 4, not a whole number from 0 to 3"),
        (mapping(integer(0, 3), 1), {"a": 0, "b": 1}, "is an object, not an object of at most 1 keys"),
        (mapping(integer(0, 3), 1), {"a": None}, "'a' is None, not a whole number from 0 to 3"),
        (mapping(integer(0, 3), 1), {"a" * 201: 0}, "is an object, not an object of at most 1 keys"),
        (record({"a": anything}), [], "is a list of 0, not an object"),
        (record({"a": anything}), {}, "has no 'a'"),
        (record({"a": anything}), {"a": 1, "b\x1b": 2}, r"contains 'b\x1b', which is not a known key"),
        (record({"a": record({"b": text(1)})}), {"a": {"b": 1}}, "'a' 'b' is 1, not text of at most 1 characters"),
        (tagged("event", {"end": anything}), {"event": "start"}, "is an object, whose 'event' is not in ('end',)"),
        (tagged("event", {"end": anything}), {"event": ["end"]}, "is an object, whose 'event' is not in ('end',)"),
        (tagged("event", {"end": record({"event": anything})}), {"event": "end", "x": 1}, "contains 'x', which"),
    ],
)
def test_what_is_not_wanted_is_said(check: Callable[[Any], str], value: Any, complaint: str) -> None:
    assert check(value).startswith(complaint)


def test_object_may_have_more_than_is_asked_of_it() -> None:
    check = holding({"arm": text(5), "seed?": integer(0, 9)})
    assert check({"arm": "kd", "more": [1]}) == "" and check({"arm": "kd", "seed": 3}) == ""
    assert check({"seed": 3}) == "has no 'arm'"
    assert check({"arm": "kd", "seed": "3"}) == "'seed' is '3', not a whole number from 0 to 9"
    assert check([]) == "is a list of 0, not an object"
