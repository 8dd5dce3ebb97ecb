"""A quick part of the campaign, on a recorded run that needs no training."""

import re
from pathlib import Path

import pytest

from agent.recheck.archive import export
from tests.campaigns.archives import commands
from tests.campaigns.archives.__main__ import looked_at, mutated
from tests.campaigns.archives.floods import fields, flooded
from tests.campaigns.archives.mutations import (
    CHARACTERS,
    EVERYTHING,
    Content,
    Place,
    parsed,
    read,
    sealed,
    without,
    written,
)
from tests.campaigns.records.__main__ import PLAYED
from tests.campaigns.records.record import unpack

MUTATIONS = 25


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Content]:
    folder = tmp_path_factory.mktemp("honest")
    export(unpack(PLAYED, folder / "runs"), folder / "run.tar.gz")
    return read(folder / "run.tar.gz")


def test_honest_archive_is_taken_and_every_command_reads_it(honest: tuple[str, Content], tmp_path: Path) -> None:
    seen = commands.Seen()
    assert looked_at(seen, *honest, tmp_path / "here")
    assert (seen.tracebacks, seen.raw) == ([], {}) and seen.commands > 20


@pytest.mark.parametrize("text", [EVERYTHING, CHARACTERS["rich, closed"]], ids=["everything", "closing markup"])
def test_nothing_in_any_field_reaches_a_terminal_or_a_page_raw(
    text: str, honest: tuple[str, Content], tmp_path: Path
) -> None:
    run, content = honest
    assert sum(map(len, fields(content).values())) > 300
    seen = commands.Seen()
    assert looked_at(seen, run, flooded(content, text), tmp_path / "here"), seen.said
    assert (seen.tracebacks, seen.raw) == ([], {})
    assert "\\x1b" in "".join(seen.said) or text != EVERYTHING


def test_half_a_character_is_refused_in_one_line(honest: tuple[str, Content], tmp_path: Path) -> None:
    run, content = honest
    seen = commands.Seen()
    assert not looked_at(seen, run, flooded(content, CHARACTERS["half a character"]), tmp_path / "here")
    assert (seen.tracebacks, seen.raw) == ([], {}) and seen.said[0].startswith("kdagent: ")


ODD = {
    "facts.json": [
        ("tracks", "digits", "models"),
        ("tracks", "digits", "rows", "test"),
        ("tracks", "digits", "rows"),
        ("warnings",),
        ("tracks", "digits"),
    ],
    "plan.json": [("provenance", "tracks.digits.training.epochs"), ("tracks", 0, "task")],
    "results.json": [("tracks", 0, "arms", 0, "summaries", "accuracy"), ("tracks", 0, "teacher_scores", "f1")],
    "run.json": [("options", "tasks"), ("created",), ("status",)],
    "events.jsonl": [(1, "data", "author"), (3, "data", "weights"), (-10, "data", "outcome"), (0, "data")],
}
"""File → the path of a value that some command cannot do without."""


@pytest.mark.parametrize(("file", "place"), [(file, place) for file, places in ODD.items() for place in places])
def test_file_that_a_command_could_not_read_is_refused_by_its_name(
    file: str, place: Place, honest: tuple[str, Content], tmp_path: Path
) -> None:
    run, content = honest
    changed = sealed(content | {file: written(without(parsed(content[file], file), place), file)})
    seen = commands.Seen()
    assert not looked_at(seen, run, changed, tmp_path / "here")
    assert (seen.tracebacks, seen.raw) == ([], {})
    assert re.match(rf"kdagent: \S+: its ({file}|plan\.json) ", seen.said[0]) and seen.said[0].count("kdagent") == 1


@pytest.mark.long
def test_mutated_archives_are_refused_or_read_in_lines(honest: tuple[str, Content], tmp_path: Path) -> None:
    seen, taken = mutated(*honest, range(MUTATIONS), tmp_path)
    assert (seen.tracebacks, seen.raw) == ([], {}) and 0 < taken < MUTATIONS


def test_what_takes_effect_would_be_found(tmp_path: Path) -> None:
    for text in ("a\x1b[31m", "\u202e", "\x9b", "\r", "\u2028"):
        assert list(commands.raw(text)), text
    assert list(commands.obeyed("r9 💀")) == ["markup was obeyed", "an emoji code was obeyed"]
    assert list(commands.obeyed("[b]r9[/b] :skull:")) == []
    assert list(commands.page_faults(b"<q7>")) and not list(commands.page_faults(b"```\n<q7>\n```\n"))
