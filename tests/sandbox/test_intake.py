import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sandbox.errors import IntakeRejected
from sandbox.intake import copy, read_bytes, read_json, read_lines, read_tensors
from sandbox.schema import integer, record
from sandbox.tensors import Tensor

ROOT = Path(__file__).parents[2]


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


def test_files_of_another_user_are_rejected(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file to another user")
    (tmp_path / "x.json").write_text("{}")
    os.chown(tmp_path / "x.json", 12345, -1)
    rejected(tmp_path, "belongs to user 12345")


def test_files_on_another_device_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "a"], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        (tmp_path / "a" / "x.json").write_text("{}")
        rejected(tmp_path, "different device", name="a/x.json")
    finally:
        subprocess.run(["umount", tmp_path / "a"], check=True)


def test_schema_is_applied_to_objects_and_to_each_line(tmp_path: Path) -> None:
    step = record({"step": integer(0, 10)})
    (tmp_path / "x.json").write_text('{"step": 3}')
    assert read_json(tmp_path, "x.json", schema=step) == {"step": 3}
    (tmp_path / "x.json").write_text('{"step": 11}')
    with pytest.raises(IntakeRejected, match=r"x\.json: 'step' is 11, not a whole number from 0 to 10"):
        read_json(tmp_path, "x.json", schema=step)
    (tmp_path / "trace.jsonl").write_text('{"step": 1}\n{"step": "2"}\n')
    with pytest.raises(IntakeRejected, match=r"line 2 of trace\.jsonl: 'step' is '2'"):
        read_lines(tmp_path, "trace.jsonl", schema=step)


# ── copies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_copy_is_whole_and_replaces_what_was_there(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_bytes(content)
    (tmp_path / "kept").write_text("old")
    copy(tmp_path / "out", "x", tmp_path / "kept", cap=1 << 21)
    assert (tmp_path / "kept").read_bytes() == content
    assert sorted(os.listdir(tmp_path)) == ["kept", "out"]


def test_half_a_copy_that_a_kill_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_bytes(b"whole")
    (tmp_path / "kept.part").write_bytes(b"wh")
    copy(tmp_path / "out", "x", tmp_path / "kept", cap=8)
    assert (tmp_path / "kept").read_bytes() == b"whole"
    assert sorted(os.listdir(tmp_path)) == ["kept", "out"]


def test_rejected_copy_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_bytes(b"12345")
    with pytest.raises(IntakeRejected, match="larger than 4 bytes"):
        copy(tmp_path / "out", "x", tmp_path / "kept", cap=4)
    (tmp_path / "out" / "x").write_bytes(safetensors({"w": ("F32", [1], [0, 4])}, 5))
    with pytest.raises(IntakeRejected, match="the file has 5"):
        read_tensors(tmp_path / "out", "x", 1000, target=tmp_path / "kept")
    assert os.listdir(tmp_path) == ["out"]


def test_copying_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    size = 300 << 20
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "w").open("wb") as file:
        file.write(safetensors({"w": ("U8", [size], [0, size])}, 0))
        file.truncate(file.tell() + size)
    script = (
        "import pathlib, resource, sys; from sandbox.intake import read_tensors\n"
        "here = pathlib.Path(sys.argv[1]); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_tensors(here / 'out', 'w', 1 << 30, target=here / 'kept')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, cwd=ROOT)
    assert int(done.stdout) < 20 << 10, done.stderr  # KiB
    assert (tmp_path / "kept").stat().st_size == (tmp_path / "out" / "w").stat().st_size


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def safetensors(entries: dict[str, tuple[str, list[int], list[int]]] | bytes, data: int) -> bytes:
    """A file with this header, as it stands or from {name: (dtype, shape, offsets)}, and that many bytes behind it."""
    if not isinstance(entries, bytes):
        named = {n: {"dtype": d, "shape": s, "data_offsets": o} for n, (d, s, o) in entries.items()}
        entries = json.dumps(named).encode()
    return len(entries).to_bytes(8, "little") + entries + bytes(data)


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    arrays = {
        "half": np.zeros((2, 3), np.float16),
        "scalar": np.float32(1.0),
        "none": np.zeros((0, 7), np.int64),
        "mask": np.zeros(5, np.bool_),
    }
    save_file({name: np.asarray(array) for name, array in arrays.items()}, tmp_path / "x", metadata={"format": "np"})
    found = read_tensors(tmp_path, "x", 1000, target=tmp_path / "kept")
    assert found == {
        "half": Tensor("F16", (2, 3)),
        "scalar": Tensor("F32", ()),
        "none": Tensor("I64", (0, 7)),
        "mask": Tensor("BOOL", (5,)),
    }
    assert (tmp_path / "kept").read_bytes() == (tmp_path / "x").read_bytes()
    assert {*load_file(tmp_path / "kept")} == {*arrays}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "header cannot be 0 bytes"),
        (b"\x02\0\0", "header cannot be 2 bytes"),
        (b"\xff" * 8, "header cannot be 18446744073709551615 bytes"),
        (safetensors(b"[]", 0), "not an object"),
        (safetensors(b'{"a": NaN}', 0), "not strict JSON"),
        (safetensors(b'{"a": 1, "a": 2}', 0), "twice"),
        (safetensors(b'{"__metadata__": {"a": 1}}', 0), "__metadata__ 'a' is 1"),
        (safetensors(b'{"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4], "x": 1}}', 4), "contains 'x'"),
        (safetensors({"a": ("OBJ", [1], [0, 8])}, 8), "'dtype' is 'OBJ'"),
        (safetensors({"a": ("F32", [-1], [0, 4])}, 4), "'shape' .* is -1"),
        (safetensors({"a": ("F32", [True], [0, 4])}, 4), "'shape' .* is True"),
        (safetensors({"a": ("F32", [1], [4, 0])}, 4), "takes the bytes"),
        (safetensors({"a": ("F32", [1], [0])}, 4), "takes the bytes"),
        (safetensors({"a": ("F32", [2], [0, 4])}, 4), "takes the bytes"),
        (safetensors({"a": ("F32", [1 << 31, 1 << 31], [0, 0])}, 0), "takes the bytes"),
        (safetensors({"a": ("F32", [1], [0, 4]), "b": ("F32", [1], [0, 4])}, 4), "takes the bytes"),
        (safetensors({"a": ("F32", [1], [0, 4]), "b": ("F32", [1], [8, 12])}, 12), "takes the bytes"),
        (safetensors({"a": ("F32", [1], [0, 4])}, 8), "take 4 bytes but the file has 8"),
        (safetensors({"a": ("F32", [2], [0, 8])}, 4), "take 8 bytes but the file has 4"),
        (safetensors({"a" * 201: ("F32", [1], [0, 4])}, 4), "not an object of at most"),
    ],
)
def test_anything_but_a_whole_safetensors_file_is_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(IntakeRejected, match=reason):
        read_tensors(tmp_path, "x", 10_000)


def test_giant_header_is_rejected_unread(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write((100 << 20).to_bytes(8, "little"))
        file.truncate(200 << 20)
    with pytest.raises(IntakeRejected, match="cannot be 104857600 bytes"):
        read_tensors(tmp_path, "x", 1 << 30)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"logits": Tensor("F32", (3, 2))}, r"contains F32 \[2, 2\] as 'logits', expected F32 \[3, 2\]"),
        ({"logits": Tensor("F64", (2, 2))}, r"contains F32 \[2, 2\] as 'logits', expected F64 \[2, 2\]"),
        ({"scores": Tensor("F32", (2, 2))}, r"contains F32 \[2, 2\] as 'logits', expected nothing"),
        ({"logits": Tensor("F32", (2, 2)), "b": Tensor("F32", ())}, r"contains nothing as 'b', expected F32 \[\]"),
    ],
)
def test_tensors_must_be_the_expected_ones(tmp_path: Path, expected: dict[str, Tensor], reason: str) -> None:
    (tmp_path / "x").write_bytes(safetensors({"logits": ("F32", [2, 2], [0, 16])}, 16))
    assert read_tensors(tmp_path, "x", 1000, {"logits": Tensor("F32", (2, 2))})
    with pytest.raises(IntakeRejected, match=reason):
        read_tensors(tmp_path, "x", 1000, expected)
