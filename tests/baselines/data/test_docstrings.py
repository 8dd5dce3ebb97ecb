"""The embedded text task, on a folder of our own: the installed packages are read in the packaged first run."""

from collections import Counter

from baselines.data import docstrings

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
    assert docstrings._read((path, 2)) == (
        2,
        [
            "The [MASK] of [MASK] turn [MASK] arrays into [MASK].",
            "Sides and corners of a flat figure.",
            "What lies within the sides of it, in a nested function.",
        ],
    )


def test_file_that_does_not_parse_gives_nothing(tmp_path):
    path = tmp_path / "module.py"
    for content in (b"def broken(:", b"\x00", b"# -*- coding: klingon -*-"):
        path.write_bytes(content)
        assert docstrings._read((path, 0)) == (0, [])


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


def test_rows_are_kept_until_a_source_changes(tmp_path):
    files = []
    for label, word in enumerate(("sparse", "dense", "complex", "quantised")):
        path = tmp_path / f"{word}.py"
        path.write_text(f'"""Multiply two {word} matrices of any shape."""')
        files.append((path, label))
    cache = tmp_path / "cache"
    first = docstrings._kept(files, cache)
    assert sorted(label for _, label in first) == [0, 1, 2, 3] and docstrings._kept(files, cache) == first
    assert len(list(cache.iterdir())) == 1
    files[0][0].write_text('"""Add two sparse matrices of any shape at all."""')
    assert ("Add two sparse matrices of any shape at all.", 0) in docstrings._kept(files, cache)
