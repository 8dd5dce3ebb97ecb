"""What an installation must hold. Skipped parts would fail a user later, so nothing here is skipped."""

import hashlib
import subprocess
import sys
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path

import pytest

from agent import __version__, config
from agent.plan.cards import cards
from agent.render import TEMPLATES
from agent.results.published import PUBLISHED


@pytest.mark.parametrize("name", ["agent", "sandbox", "baselines", "templates"])
def test_no_other_distribution_holds_an_import_name_of_ours(name: str) -> None:
    owners = packages_distributions().get(name, ["kdagent"])  # an editable installation is not listed
    assert set(owners) == {"kdagent"}


def test_the_command_is_installed_and_of_this_version() -> None:
    assert version("kdagent") == __version__
    [command] = entry_points(group="console_scripts", name="kdagent")
    assert command.value == "agent.cli:main"
    script = Path(sys.executable).with_name("kdagent")
    said = subprocess.run([script, "--version"], capture_output=True, text=True, cwd="/")
    assert said.stdout == f"kdagent {__version__}\n"


def test_every_file_the_code_names_is_there() -> None:
    data = [
        config.TASKS,
        config.SCALES,
        config.SETTINGS,
        *(config.METHODS / f"{name}.toml" for name in cards()),
        PUBLISHED,
    ]
    prompts = [TEMPLATES / "prompts" / f"{name}.md.j2" for name in ("system", "plan", "edit", "contract")]
    trains = [config.TRAIN_FILES / name for name in (*{card.file for card in cards().values()}, "pseudo_label.py")]
    missing = [path for path in (*data, *prompts, *trains, TEMPLATES / "report" / "report.md.j2") if not path.is_file()]
    assert missing == []


def test_every_scale_names_known_tasks_and_settings() -> None:
    tasks = config.cards(config.TASKS)
    for scale in config.cards(config.SCALES).values():
        for track in scale["tracks"]:
            assert track in tasks and scale[track]["method"] and scale[track]["sizes"]


def test_rows_of_the_embedded_text_task_ship_with_their_notices() -> None:
    card = config.cards(config.TASKS)["docstrings"]
    rows = config.EMBEDDED / card["rows"]
    assert hashlib.sha256(rows.read_bytes()).hexdigest() == card["sha256"]
    assert rows.stat().st_size < 1.5e6 and (config.ROOT / card["license"].rsplit(": ")[1]).is_file()
