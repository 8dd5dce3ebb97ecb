"""The commands that look at things: what they print, and what they never import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__, config
from agent.commands.methods import method_settings
from agent.plan.cards import cards
from agent.render import render
from agent.results.schema import Results
from tests.agent.command import ROOT, Kdagent
from tests.agent.gates import Gates
from tests.agent.loopback import LoopbackModel

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "sklearn",
    "scipy",
    "numpy",
    "langgraph",
    "openai",
    "jinja2",
    "rich",
    "git",
}

SLOW = {"dataclasses", "inspect", "pathlib", "tomllib", "sqlite3", "pydantic"}
"""What takes as long to import as all of kdagent's help."""
LOOKING = (["--help"], ["run", "--help"], ["--version"], ["runs"], ["cache", "ls"], ["tasks"], ["nonsense"])


@pytest.mark.parametrize("words", LOOKING)
def test_looking_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = f"""import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from agent.cli import main
sys.exit(main({words!r}))"""
    folders = {"KDAGENT_RUNS": str(tmp_path), "KDAGENT_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment = os.environ | folders
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "agent.cli" in loaded
    assert HEAVY & loaded == set()
    if words == ["--help"]:
        assert SLOW & loaded == set()


def test_version_is_the_package_s(kdagent: Kdagent) -> None:
    assert kdagent("--version").out == f"kdagent {__version__}\n"


def test_no_runs_yet_says_how_to_start_one(kdagent: Kdagent) -> None:
    assert kdagent("runs").out.startswith("no runs yet; start one: kdagent run ")


def test_tasks_and_methods_name_every_card(kdagent: Kdagent) -> None:
    tasks, methods = kdagent("tasks").out, kdagent("methods").out
    assert all(name in tasks for name in (*config.cards(config.TASKS), "your own"))
    assert [line.split()[0] for line in methods.splitlines()[:-1]] == [*cards()]
    assert kdagent("tasks", "--json").json["tasks"].keys() == config.cards(config.TASKS).keys()
    assert kdagent("methods", "--json").json["methods"].keys() == cards().keys()


def test_card_of_one_method_says_all_that_is_known_of_it(kdagent: Kdagent) -> None:
    said = kdagent("methods", "show", "dkd").out
    card = cards()["dkd"]
    assert said.startswith(f"dkd: {card.title}\n")
    known = (card.formula, card.source["paper"], card.cost, *card.cautions, *card.needs)
    assert all(text in " ".join(said.split()) for text in known)
    assert kdagent("methods", "show", "dkd", "--json").json["methods"].keys() == {"dkd"}
    assert kdagent("methods", "show", "magic").code == kdagent("methods", "list").code == 2


def test_every_card_fits_a_terminal_of_eighty_columns() -> None:
    for name, card in config.cards(config.METHODS).items():
        said = render(
            "methods/card.txt.j2", method=name, card=card | {"settings": method_settings(name), "measured": []}
        )
        assert [line for line in said.splitlines() if len(line) > 80] == []


def test_output_that_nobody_reads_ends_quietly(kdagent: Kdagent) -> None:
    process = kdagent.start("methods")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_a_run_that_cannot_be_read_does_not_hide_the_others(kdagent: Kdagent) -> None:
    for name, text in (("20260101-000000-a-aaaa", "{"), ("20260202-000000-b-bbbb", json.dumps(record("b")))):
        (kdagent.runs / name).mkdir(parents=True)
        (kdagent.runs / name / "run.json").write_text(text)
    first, second = kdagent("runs").out.splitlines()
    assert first.split() == ["20260202-000000-b-bbbb", "planned", "b"]
    assert second.split() == ["20260101-000000-a-aaaa", "unreadable"]


def record(idea: str) -> dict[str, object]:
    return {"schema": 1, "id": "20260202-000000-b-bbbb", "status": "planned", "created": "", "options": {"idea": idea}}


# ── the doctor ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_finds_what_every_run_needs(kdagent: Kdagent) -> None:
    said = kdagent("doctor", "--json")
    assert said.code == 0
    found = {finding["name"]: finding for finding in said.json["findings"]}
    assert [found[name]["status"] for name in ("git", "torch", "runs", "cache", "digits", "docstrings")] == ["ok"] * 6
    assert found["endpoint"]["detail"].startswith("none: the embedded recipes are used")
    assert not kdagent.runs.exists()


def test_doctor_names_what_is_missing_and_how_to_mend_it(kdagent: Kdagent, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = kdagent("doctor", "--runs-dir", str(tmp_path / "file" / "runs"), PATH=str(tmp_path))
    assert said.code == 1
    [git] = [line for line in said.out.splitlines() if line.startswith("missing git")]
    assert "install git" in git
    [runs] = [line for line in said.out.splitlines() if line.startswith("missing runs")]
    assert f"{tmp_path / 'file'} is not a folder" in runs and "--runs-dir" in runs


def test_doctor_asks_the_endpoint(kdagent: Kdagent) -> None:
    with LoopbackModel([]) as server:  # it answers chat completions only
        said = kdagent("doctor", "--base-url", server.base_url, "--json")
    [endpoint] = [finding for finding in said.json["findings"] if finding["name"] == "endpoint"]
    assert (endpoint["status"], endpoint["detail"]) == ("weak", f"{server.base_url} answered 501")
    assert said.code == 0


@pytest.mark.parametrize(
    ("url", "problem"), [("localhost:1", "is not a valid HTTP address"), ("http://127.0.0.1:9", "refused")]
)
def test_doctor_survives_an_endpoint_that_is_none(kdagent: Kdagent, url: str, problem: str) -> None:
    [endpoint] = [line for line in kdagent("doctor", "--base-url", url).out.splitlines() if "endpoint" in line]
    assert endpoint.startswith("weak") and problem in endpoint


# ── a finished run ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_runs_shows_status_verdict_and_idea(gates: Gates) -> None:
    kdagent, paths = gates.kdagent, gates.paths
    [line] = kdagent("runs").out.splitlines()
    assert line.split() == [paths.id, "succeeded", "invalid", "soft", "labels"]
    [listed] = kdagent("runs", "--json").json["runs"]
    assert listed == json.loads(paths.run.read_text())


@pytest.mark.slow
def test_show_prints_plan_scores_and_conclusion(gates: Gates) -> None:
    kdagent, paths = gates.kdagent, gates.paths
    said = kdagent("show", paths.id[:15])
    results = Results.model_validate_json(paths.results.read_text())
    for text in (results.plan_hash[:12], "temperature", "pseudo_label", results.conclusion, str(paths.report)):
        assert text in said.out
    shown = kdagent("show", "@last", "--json").json
    assert shown["schema"] == 1 and shown["plan"] == json.loads(paths.plan.read_text())
    assert Results.model_validate(shown["results"]) == results


@pytest.mark.slow
def test_report_is_the_same_bytes_every_time(gates: Gates) -> None:
    kdagent, paths = gates.kdagent, gates.paths
    first = paths.report.read_bytes()
    assert kdagent("report", paths.id).out == f"{paths.report}\n"
    second = paths.report.read_bytes()
    said = kdagent("report", paths.id, "--json")
    assert said.json == {"schema": 1, "run": paths.id, "report": str(paths.report)}
    assert first == second == paths.report.read_bytes()
