import json
import os
from pathlib import Path

import pytest

from sandbox.errors import IntakeRejected
from sandbox.intake import read_bytes, read_json, read_lines


def rejected(root: Path, reason: str, name: str = "x.json", cap: int = 1000) -> None:
    with pytest.raises(IntakeRejected, match=reason) as caught:
        read_json(root, name, cap)
    assert name in caught.value.message


def test_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_text('{"loss": [1, 2.5], "né": null}')
    assert read_json(tmp_path, "a/x.json") == {"loss": [1, 2.5], "né": None}
    assert read_bytes(tmp_path, "a/x.json", cap=31) == b'{"loss": [1, 2.5], "n\xc3\xa9": null}'


def test_missing_file_is_named(tmp_path: Path) -> None:
    rejected(tmp_path, "x.json is missing")
    rejected(tmp_path, "a/x.json is missing", name="a/x.json")


def test_symlink_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("{}")
    (tmp_path / "x.json").symlink_to(tmp_path / "labels")
    rejected(tmp_path, "symbolic link")


def test_linked_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.json").write_text("{}")
    (tmp_path / "a").symlink_to(tmp_path / "secret")
    rejected(tmp_path, "cannot be read", name="a/x.json")


def test_hard_link_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("{}")
    os.link(tmp_path / "labels", tmp_path / "x.json")
    rejected(tmp_path, "2 names")


def test_fifo_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    rejected(tmp_path, "not a regular file")


def test_folder_is_rejected_and_leaks_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    rejected(tmp_path, "not a regular file")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["../x.json", "/etc/passwd", "a/../x.json", "a//x.json", "", "./x.json"])
def test_names_that_lead_elsewhere_are_rejected(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(IntakeRejected, match="not a plain relative name"):
        read_bytes(tmp_path / "root", name, 10)


def test_oversize_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert read_json(tmp_path, "x.json", cap=8) == {"a": 1}
    rejected(tmp_path, "larger than 7 bytes", cap=7)


def test_sparse_giant_is_rejected_unread(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(50 << 30)
    rejected(tmp_path, "larger than")


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        '{"b": 1, "b": 2}',
        "1" * 9000,
        "{'a': 1}",
        "1,",
        "",
        r'"\ud800"',
        "\x00",
    ],
)
def test_anything_but_strict_json_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text('{"a": ' + text + "}")
    rejected(tmp_path, "not strict JSON", cap=10_000)


def test_bad_utf8_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff"}')
    rejected(tmp_path, "not strict JSON")


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"'])
def test_top_level_must_be_an_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    rejected(tmp_path, "not an object")


def test_depth_is_limited(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ' + "[" * 15 + "]" * 15 + "}")
    read_json(tmp_path, "x.json")
    (tmp_path / "x.json").write_text('{"a": ' + "[" * 16 + "]" * 16 + "}")
    rejected(tmp_path, "more than 16 levels")


def test_bottomless_nesting_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ' + "[" * 200_000)
    rejected(tmp_path, "not strict JSON", cap=1 << 20)


def test_lines_are_read_and_a_torn_last_one_is_dropped(tmp_path: Path) -> None:
    rows = [{"step": 1}, {"step": 2}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for ending, expected in [("", rows), ('{"step": 3', rows), ('{"step": 3}', [*rows, {"step": 3}])]:
        (tmp_path / "trace.jsonl").write_text(text + ending)
        assert read_lines(tmp_path, "trace.jsonl") == expected


@pytest.mark.parametrize("line", ["", "[1]", '{"step": NaN}', '{"step": 3'])
def test_any_other_bad_line_is_rejected_by_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "trace.jsonl").write_text('{"step": 1}\n' + line + '\n{"step": 4}\n')
    with pytest.raises(IntakeRejected, match=r"line 2 of trace\.jsonl"):
        read_lines(tmp_path, "trace.jsonl")


def test_endless_lines_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_bytes(b"{}\n" * 1_000_001)
    with pytest.raises(IntakeRejected, match="more than 1000000 lines"):
        read_lines(tmp_path, "trace.jsonl")
