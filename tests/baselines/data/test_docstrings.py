"""The embedded text task: the rows that ship, and how they were read, on a folder of our own."""

import gzip
import hashlib
import importlib.metadata
import importlib.util
from collections import Counter

import pytest

from baselines.data import docstrings, splits, tasks
from baselines.errors import BaselineError

CARD = tasks.CARDS["docstrings"]
ROWS = "290b803bf4bc074c3c2843d776b4a4b95b30557045f5679d4b90de7cdbd4d3ea"
DEMO = "37c34aa934268022b5b0dcfdb984e656881f275279a553ecc375aeb669d5b774"
"""Splits of 1,000, 6,000, 500 and 2,000 rows, as they were while the rows were read from the installed versions."""

MODULE = '''
"""The transformers of PyTorch turn numpy arrays into tensors.

A second paragraph."""


class Shape:
    """Sides and
        corners of a flat figure."""

    async def area(self):
        """Short."""

        def inner():
            """What lies within the sides of it, in a nested function."""


def long():
    """{}"""
'''.format("word " * 80)


def test_first_paragraphs_of_fitting_length_with_library_words_masked(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(MODULE.strip())
    assert docstrings._texts(path) == [
        "The [MASK] of [MASK] turn [MASK] arrays into [MASK].",
        "Sides and corners of a flat figure.",
        "What lies within the sides of it, in a nested function.",
    ]


def test_file_that_does_not_parse_gives_nothing(tmp_path):
    path = tmp_path / "module.py"
    for content in (b"def broken(:", b"\x00", b"# -*- coding: klingon -*-"):
        path.write_bytes(content)
        assert docstrings._texts(path) == []


def test_files_of_tests_and_of_packages_inside_are_left_out(tmp_path):
    for name in ("kept.py", "tests/not.py", "site-packages/not.py", "sub/kept.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in docstrings._files(tmp_path)] == ["kept.py", "kept.py"]


def test_classes_are_balanced_and_the_order_follows_from_the_texts():
    found = [(f"text {number}", number % 4 if number < 40 else 3) for number in range(100)]
    rows = docstrings._balanced(found)
    assert Counter(label for _, label in rows) == {0: 10, 1: 10, 2: 10, 3: 10}
    assert rows == docstrings._balanced(found[::-1])
    assert [label for _, label in rows] != sorted(label for _, label in rows)


def test_text_of_two_classes_is_left_out_and_one_that_is_repeated_is_kept_once():
    found = [("of both", 0), ("repeated", 1), ("repeated", 1), ("of both", 3), ("of both", 0)]
    assert docstrings._unique(found) == [("repeated", 1)]


# ── the rows that ship ──────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_that_ship_are_those_of_the_first_release():
    versions, rows = docstrings.read(CARD)
    assert versions == "torch 2.13.0, transformers 5.24.0, scipy 1.17.1, scikit-learn 1.9.1, Python 3.11.7"
    whole = "".join(f"{text}\t{label}\n" for text, label in rows)
    assert hashlib.sha256(whole.encode()).hexdigest() == ROWS
    assert CARD["sha256"] == "cc6b5abd8aaf71f8da0bba89e8e0faa4b6b8746696d9d461c8440a3978dc1aab"


def test_rows_that_ship_are_balanced_unlike_and_of_every_class():
    _, rows = docstrings.read(CARD)
    assert tuple(CARD["labels"]) == docstrings.LABELS
    assert Counter(label for _, label in rows) == dict.fromkeys(range(len(docstrings.LABELS)), 6190)
    texts = [text for text, _ in rows]
    assert len(set(texts)) == len(texts)
    assert all(docstrings.SHORTEST <= len(text) <= docstrings.LONGEST for text in texts)
    assert not [text for text in texts if docstrings.NAMES.search(text)]


def test_every_split_of_the_demo_has_every_class():
    source = tasks.load({"name": "docstrings"})
    assert (len(source.pool), len(source.test)) == (20760, 4000)
    sizes = {"train_rows": 1000, "transfer_rows": 6000, "dev_rows": 500, "test_rows": 2000}
    parts = splits.split(source, sizes, seed=0)
    for part, size in zip((parts.train, parts.transfer, parts.dev, parts.test), sizes.values(), strict=True):
        assert len(part) == size and set(part.labels) == {0, 1, 2, 3}
    assert parts.hash() == DEMO


def test_rows_do_not_depend_on_what_is_installed(monkeypatch):
    before = tasks.load({"name": "docstrings"})

    def asked(*_):
        raise AssertionError("nobody is to ask what is installed")

    monkeypatch.setattr(importlib.util, "find_spec", asked)
    monkeypatch.setattr(importlib.metadata, "version", asked)
    monkeypatch.setattr(docstrings, "version", asked)
    monkeypatch.setattr(docstrings.sysconfig, "get_paths", asked)
    assert tasks.load({"name": "docstrings"}) == before


@pytest.mark.parametrize(
    "content", [None, b"", gzip.compress(b"# docstrings of torch 3\ntext\tlabel\nHello.\t0\n", mtime=0)]
)
def test_other_rows_than_the_card_gives_are_refused_on_one_line(content, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / CARD["rows"]).write_bytes(content)
    monkeypatch.setattr(docstrings, "EMBEDDED", tmp_path)
    with pytest.raises(BaselineError) as caught:
        tasks.load({"name": "docstrings"})
    assert CARD["rows"] in caught.value.message and "\n" not in caught.value.message
    assert caught.value.hint.startswith("install kdagent again")


def test_file_is_written_as_it_is_read_to_the_same_bytes(tmp_path, monkeypatch):
    rows = [("Sides of a flat figure, “quoted”.", 2), ("Corners of a flat figure.", 0)]
    monkeypatch.setattr(docstrings, "_installed", lambda: rows)
    monkeypatch.setattr(docstrings, "_balanced", list)
    monkeypatch.setattr(docstrings, "EMBEDDED", tmp_path)
    hashes = [docstrings.write(tmp_path / name) for name in ("one.tsv.gz", "two.tsv.gz")]
    assert hashes[0] == hashes[1]
    assert docstrings.read({"rows": "one.tsv.gz", "sha256": hashes[0]}) == (docstrings._versions(), rows)


def test_notice_names_every_work_that_the_rows_are_from():
    notice = (docstrings.EMBEDDED / "docstrings.NOTICE").read_text()
    versions, rows = docstrings.read(CARD)
    assert f"{len(rows):,} sentences" in notice
    for work in versions.split(", "):
        assert work.split()[1] in notice
