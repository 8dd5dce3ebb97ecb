"""`make run`: the idea reaches kdagent as it was written, and a misspelt variable is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUB = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The Makefile where everything is installed, with a kdagent that prints what it is given."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    program = tmp_path / ".venv" / "bin" / "kdagent"
    program.write_text(STUB)
    program.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def made(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    asked = ["make", "--silent", *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    return subprocess.run(asked, cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "idea",
    [
        "efficient KD",
        'the "best" of\'em',
        "`touch made`",
        "$(touch made)",
        "$(shell touch made)",
        "costs $5 and $HOME; touch made",
        "# not a comment",
        "--yes",
        "back\\slash",
    ],
)
@pytest.mark.parametrize("exported", [True, False])
def test_idea_is_taken_word_for_word(idea: str, exported: bool, folder: Path) -> None:
    done = made(folder, "run", IDEA=idea) if exported else made(folder, "run", f"IDEA={idea}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["run", "--yes", "--", idea]
    assert not (folder / "made").exists()


def test_other_words_stand_before_the_idea(folder: Path) -> None:
    done = made(folder, "run", "ARGS=--scale small --seeds 3")
    assert json.loads(done.stdout)[:5] == ["run", "--yes", "--scale", "small", "--seeds"]


@pytest.mark.parametrize("word", ["IDAE=soft labels", "idea=soft labels", "ARG=--seeds 3"])
def test_misspelt_variable_is_refused(word: str, folder: Path) -> None:
    done = made(folder, "run", word)
    assert done.returncode == 2 and done.stdout == ""
    assert f"unknown variable {word.split('=')[0]}: known are IDEA" in done.stderr


def test_variable_of_the_environment_is_nobody_s_mistake(folder: Path) -> None:
    assert made(folder, "run", IDAE="of something else").returncode == 0
