"""Commands that are printed to be copied."""

import shlex
import sys
from pathlib import Path

import pytest

from agent.record.printed import command


def test_another_folder_is_named_and_the_default_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDAGENT_RUNS", str(tmp_path / "runs"))
    assert command("show", "@last", folder=tmp_path / "runs") == "kdagent show @last"
    assert command("cache", "ls") == "kdagent cache ls"
    elsewhere = command("show", "@last", folder=tmp_path / "a b")
    assert shlex.split(elsewhere) == ["kdagent", "show", "@last", "--runs-dir", str(tmp_path / "a b")]


@pytest.mark.parametrize(
    ("called", "shown"), [(".venv/bin/kdagent", ".venv/bin/kdagent"), ("agent/__main__.py", "kdagent")]
)
def test_program_that_the_shell_would_not_find_is_shown_as_it_was_called(
    called: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setenv("PATH", "")
    assert command("runs") == f"{shown} runs"


def test_program_that_the_shell_finds_is_shown_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kdagent").touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "kdagent")])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("runs") == "kdagent runs"
