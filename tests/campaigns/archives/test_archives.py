"""A quick part of the campaign, on a recorded run that needs no training."""

from pathlib import Path

import pytest

from agent.recheck.archive import export
from tests.campaigns.archives import commands
from tests.campaigns.archives.__main__ import looked_at, mutated
from tests.campaigns.archives.floods import fields, flooded
from tests.campaigns.archives.mutations import CHARACTERS, EVERYTHING, Content, read
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
