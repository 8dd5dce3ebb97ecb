"""The event log: whole lines, each chained to the one before."""

import json
from pathlib import Path

import pytest

from agent.errors import DataError
from agent.record.events import EventLog, broken_link, event_line


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    made = EventLog(tmp_path / "events.jsonl")
    for number in range(3):
        made.append("trial", arm="kd", seed=number, where={"track": "digits"})
    return made


def test_events_come_back_in_order_and_linked(log: EventLog) -> None:
    events = log.read()
    assert [event["seq"] for event in events] == [0, 1, 2]
    assert [event["data"]["seed"] for event in events] == [0, 1, 2]
    assert [event["previous"] for event in events] == ["", events[0]["hash"], events[1]["hash"]]
    assert broken_link(events) is None


def test_counting_looks_at_kind_and_values(log: EventLog) -> None:
    log.append("test predicted", arm="kd")
    assert log.count("trial") == 3
    assert log.count("trial", arm="kd", seed=2) == 1
    assert log.count("trial", where={"track": "other"}) == 0
    assert log.count("test predicted", arm="kd") == 1


def test_event_that_is_on_record_is_not_said_again(log: EventLog) -> None:
    log.once("workspace", commits={"start": "a"})
    log.once("workspace", commits={"start": "a"})
    log.once("workspace", commits={"start": "b"})
    assert [event["data"]["commits"]["start"] for event in log.read()[3:]] == ["a", "b"]


def test_log_of_an_older_schema_is_read_and_not_continued(log: EventLog) -> None:
    log.path.write_bytes(b"".join(event_line(event | {"schema": 1}) for event in log.read()))
    before = log.path.read_bytes()
    assert log.count("trial") == 3
    with pytest.raises(DataError, match="has schema 1, this kdagent writes 2"):
        log.append("decided")
    assert log.path.read_bytes() == before


def test_log_of_a_newer_schema_is_not_read(log: EventLog) -> None:
    log.path.write_bytes(event_line(log.read()[0] | {"schema": 3}))
    with pytest.raises(DataError, match=r"events\.jsonl:1 has schema 3, known are 1 and 2"):
        log.read()


def test_torn_line_is_no_event_and_the_next_append_replaces_it(log: EventLog) -> None:
    whole = log.path.read_bytes()
    with log.path.open("ab") as stream:
        stream.write(b'{"schema": 1, "seq": 3, "ki')
    assert len(log.read()) == 3
    assert log.path.read_bytes() != whole  # reading changes nothing: somebody may be writing that line
    log.append("decided", kept=True)
    events = log.read()
    assert [event["kind"] for event in events] == ["trial", "trial", "trial", "decided"]
    assert broken_link(events) is None
    assert log.path.read_bytes().startswith(whole)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_changed_event_breaks_the_chain_where_it_stands(log: EventLog, changed: int) -> None:
    events = log.read()
    events[changed]["data"]["seed"] = 99
    assert broken_link(events) == changed


def test_removed_swapped_and_added_events_break_the_chain(log: EventLog) -> None:
    first, second, third = log.read()
    assert broken_link([first, third]) == 1
    assert broken_link([second, third]) == 0
    assert broken_link([first, third, second]) == 1
    assert broken_link([first, second, third, third]) == 3


def test_event_hashed_anew_is_betrayed_by_the_next(log: EventLog) -> None:
    from agent.record.events import event_hash

    events = log.read()
    events[0]["data"]["seed"] = 99
    events[0]["hash"] = event_hash(events[0])
    assert broken_link(events) == 1


@pytest.mark.parametrize("line", ["no json", "[]", "{}", json.dumps({"seq": 1, "kind": "trial"})])
def test_line_that_is_no_event_is_named(log: EventLog, line: str) -> None:
    lines = log.path.read_text().splitlines()
    log.path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    with pytest.raises(DataError) as error:
        log.append("decided")
    assert error.value.message == f"{log.path}:2 is not a valid event"


def test_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert EventLog(tmp_path / "none.jsonl").read() == []
