"""The reports in docs/examples/, each written again from the record of its run.

    python -m tests.campaigns.examples [--write]    names the reports that differ from what kdagent writes today
    python -m tests.campaigns.examples --keep NAME RUN    makes the finished run in the folder RUN the example NAME

A record is results.json, and review.json where somebody reviewed the run, as the run wrote them. What was measured is
taken from there; what follows by rule from it (verdict, conclusion, limitations) and every word of the template is
today's. To run an example again, take the command from its report, under Reproducibility, and keep the new run.
Exits with 1 where a report is stale.
"""

import argparse
import shutil
import sys
from pathlib import Path

from agent.record.paths import RunPaths
from agent.results.conclude import conclude
from agent.results.report import render_report
from agent.results.schema import Results, Reviews
from benchmarks.page import DOCS
from tests.campaigns.records.__main__ import PLAYED

RECORDS = Path(__file__).parent / "records"
PAGES = DOCS / "examples"
DIFFERS = "differs from what its record gives; make examples WRITE=--write"
UNKNOWN = "has no record; keep one, or remove the page"


def examples(records: Path = RECORDS) -> dict[str, RunPaths]:
    """The record of each example, by its name; a model's own edits are in the record that the tests play again."""
    return {folder.name: RunPaths(folder) for folder in sorted(records.iterdir())} | {"endpoint": RunPaths(PLAYED)}


def page(name: str, pages: Path = PAGES) -> Path:
    return pages / f"{name}.md"


def rendered(record: RunPaths) -> str:
    """The report of that record in today's words."""
    results = Results.model_validate_json(record.results.read_bytes())
    reviews = Reviews.model_validate_json(record.review.read_bytes()).reviews if record.review.exists() else ()
    return render_report(conclude(results), reviews)


def stale(records: Path = RECORDS, pages: Path = PAGES) -> list[str]:
    """Examples whose page is missing or not what its record gives, and pages without a record."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in pages.glob("*.md")}
    due = {name: rendered(record) for name, record in examples(records).items()}
    return sorted(name for name in found.keys() | due.keys() if found.get(name) != due.get(name))


def write(records: Path = RECORDS, pages: Path = PAGES) -> None:
    """Every page as its record gives it; a page without a record is left for somebody to decide about."""
    for name, record in examples(records).items():
        page(name, pages).write_text(rendered(record), encoding="utf-8", newline="\n")


def keep(name: str, run: RunPaths, records: Path = RECORDS) -> None:
    """The record of a finished run becomes that of the example."""
    folder = records / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (run.results, run.review):
        if path.exists():
            shutil.copyfile(path, folder / path.name)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", nargs=2, metavar=("NAME", "RUN"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.keep:
        keep(asked.keep[0], RunPaths(Path(asked.keep[1])))
    if asked.write or asked.keep:
        write()
    found = stale()
    for name in found:
        print(f"docs/examples/{name}.md: {DIFFERS if name in examples() else UNKNOWN}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
