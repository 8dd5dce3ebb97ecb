"""The table of commands: what help shows of it, and what a new command takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import main
from agent.commands import table
from agent.commands.command import Command
from tests.agent.command import ROOT, Kdagent

FILES = {
    path.stem.rstrip("_") for path in (ROOT / "agent" / "commands").glob("*.py") if "COMMAND =" in path.read_text()
}


def test_every_command_has_a_line_and_every_line_a_command() -> None:
    assert len(list(table.names())) == len(FILES)
    assert set(table.names()) == FILES
    assert all(isinstance(table.command(name), Command) for name in table.names())


def test_help_groups_the_commands_by_what_a_person_is_doing(kdagent: Kdagent) -> None:
    said = kdagent("--help")
    assert said.code == 0
    blocks = dict(block.split(":\n", 1) for block in said.out.split("\n\n") if ":\n" in block)
    for heading, group in table.GROUPS.items():
        assert [line.split()[0] for line in blocks[heading].splitlines()] == list(group)
    assert "kdagent run" in blocks["examples"]


def test_help_fits_a_terminal_of_eighty_columns() -> None:
    assert [line for line in table.overview().splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", table.names())
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: kdagent {name} ")


def test_a_new_command_is_a_file_and_a_line(tmp_path: Path) -> None:
    """In a copy of the program: nothing else is changed."""
    for room in ("agent", "sandbox"):
        copy(ROOT / room, tmp_path / room)
    (tmp_path / "agent" / "commands" / "greet.py").write_text(GREET)
    line = tmp_path / "agent" / "commands" / "table.py"
    line.write_text(line.read_text().replace('        "gc",\n', '        "gc",\n        "greet",\n', 1))

    def said(*words: str) -> str:
        asked = [sys.executable, "-m", "agent", *words]
        return subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "\n  greet    say hello to somebody\n" in said("--help")
    assert said("greet", "Ann", "--loud") == "HELLO ANN\n"


def copy(source: Path, target: Path) -> None:
    for path in source.rglob("*.py"):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())


GREET = """
from argparse import ArgumentParser, Namespace

from agent.commands.command import Command


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--loud", action="store_true")


def run(arguments: Namespace) -> int:
    said = f"hello {arguments.name}"
    print(said.upper() if arguments.loud else said)
    return 0


COMMAND = Command("say hello to somebody", arguments, run)
"""
