"""Which kdagent ran: the commit of its checkout, whether its files were changed since, or the version installed."""

import os
import subprocess
from pathlib import Path

import pytest

from agent import __version__
from agent.jobs.checkout import checkout
from agent.jobs.machine import environment

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(folder: Path, *words: str) -> str:
    environment = os.environ | WHO | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_DIR": str(folder / ".git")}
    return subprocess.run(
        ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one file of the program."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/cli.py").write_text("pass\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def test_commit_is_named(root: Path) -> None:
    assert checkout(root) == f"commit {git(root, 'rev-parse', 'HEAD')}"


@pytest.mark.parametrize("name", ["agent/cli.py", "baselines/new.py"])
def test_changed_and_new_files_of_the_program_are_told(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("changed = True\n")
    assert checkout(root) == f"commit {git(root, 'rev-parse', 'HEAD')} + changes"


def test_notes_beside_the_program_are_no_change(root: Path) -> None:
    (root / "notes.txt").write_text("to do\n")
    assert not checkout(root).endswith("changes")


def test_variables_of_a_hook_lead_nowhere_else(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert checkout(root).startswith("commit ")


def test_reading_it_writes_nothing(root: Path) -> None:
    os.utime(root / "agent/cli.py", (1, 1))  # git would refresh its index for that
    before = (root / ".git/index").stat().st_mtime_ns
    checkout(root)
    assert (root / ".git/index").stat().st_mtime_ns == before


def test_outside_a_checkout_the_version_is_named_even_inside_somebody_s_repository(root: Path) -> None:
    assert checkout(root / "agent") == f"installed, version {__version__}"


@pytest.mark.parametrize("missing", ["git", "commits"])
def test_where_git_cannot_tell_the_environment_gives_the_reason(
    root: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "git":
        monkeypatch.setenv("PATH", str(root))
    else:
        git(root, "update-ref", "-d", "HEAD")
    monkeypatch.setattr("agent.jobs.machine.checkout", lambda: checkout(root))
    known = environment()["kdagent"]
    assert known.value is None and "git" in known.reason


def test_this_checkout_is_among_the_facts_of_the_environment() -> None:
    assert environment()["kdagent"].value == checkout()
