"""Every report in docs/examples/ is what its record gives today, and one that is not is found and put right."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import render
from agent.record.paths import RunPaths
from agent.results.schema import SCHEMA, Results
from tests.campaigns.examples.__main__ import PAGES, RECORDS, complaints, examples, keep, page, rendered, stale, write
from tests.campaigns.records.__main__ import PLAYED

PRINTED = sorted(path.stem for path in PAGES.glob("*.md"))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PAGES, tmp_path / "pages"))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDS, tmp_path / "records"))


@pytest.fixture
def reworded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Templates in which one line of the report has changed."""
    copy = Path(shutil.copytree(render.TEMPLATES, tmp_path / "templates"))
    template = copy / "report/report.md.j2"
    before = template.read_text()
    template.write_text(before.replace("| what | identity |", "| what | hash |"))
    assert template.read_text() != before
    monkeypatch.setattr(render, "TEMPLATES", copy)
    render._environment.cache_clear()
    yield
    render._environment.cache_clear()


@pytest.mark.parametrize("name", sorted({*examples(), *PRINTED}))
def test_report_is_what_its_record_gives_today(name: str) -> None:
    assert name in examples(), f"docs/examples/{name}.md has no record: keep one, or remove the page"
    assert page(name).read_text(encoding="utf-8") == rendered(examples()[name]), "make examples WRITE=--write"


def test_readme_shows_what_the_record_of_its_example_gives() -> None:
    assert list(complaints()) == []


def test_changed_line_of_the_template_makes_every_report_stale_until_they_are_written_again(
    reworded: None, pages: Path
) -> None:
    assert stale(pages=pages) == PRINTED
    write(pages=pages)
    assert stale(pages=pages) == []
    assert all("| what | hash |" in path.read_text() for path in pages.iterdir())


def test_changed_number_in_a_report_is_found(pages: Path) -> None:
    text = page("demo", pages).read_text()
    page("demo", pages).write_text(text.replace("points [", "points  [", 1))
    assert stale(pages=pages) == ["demo"]


def test_report_without_a_record_and_record_without_a_report_are_found(pages: Path) -> None:
    page("demo", pages).rename(page("stray", pages))
    assert stale(pages=pages) == ["demo", "stray"]


def test_finished_run_becomes_an_example(records: Path, pages: Path) -> None:
    keep("demo", RunPaths(PLAYED), records)
    assert stale(records, pages) == ["demo"]
    write(records, pages)
    assert stale(records, pages) == []
    assert "played-by-hand" in page("demo", pages).read_text()


def test_run_without_results_replaces_no_record(records: Path, pages: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no results\.json: name the folder of a finished run"):
        keep("demo", RunPaths(tmp_path / "unfinished"), records)
    assert stale(records, pages) == []


@pytest.mark.parametrize(("schema", "kept"), [(1, True), (SCHEMA, False)])
def test_sentences_that_follow_by_rule_are_today_s_but_for_a_record_of_an_earlier_schema(
    schema: int, kept: bool, records: Path
) -> None:
    record = examples(records)["demo"]
    results = json.loads(record.results.read_bytes())
    record.results.write_text(json.dumps(results | {"schema": schema, "conclusion": "In the words of its time."}))
    assert ("In the words of its time." in rendered(record)) == kept


@pytest.mark.parametrize("name", sorted(examples()))
def test_record_is_that_of_a_complete_run(name: str) -> None:
    results = Results.model_validate_json(examples()[name].results.read_bytes())
    assert results.status == "complete" and results.command
