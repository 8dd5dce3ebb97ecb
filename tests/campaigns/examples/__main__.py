"""The reports in docs/examples/, each written again from the record of its run, and what README shows of them.

    python -m tests.campaigns.examples [--write]    names the reports that differ from what kdagent writes today
    python -m tests.campaigns.examples --keep NAME RUN    makes the finished run in the folder RUN the example NAME
    python -m tests.campaigns.examples --play    makes a run in which an author answers by hand the example `endpoint`

A record is results.json, and review.json where somebody reviewed the run, as the run wrote them. The measurements come
from there; what follows by rule from them (verdict, conclusion, limitations) and every word of the template is today's,
unless the record is of an earlier schema, whose words stay. To run an example again, take the command from its report,
under Reproducibility, and keep the new run. Exits with 1 where a report is stale.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.record.paths import RunPaths
from agent.results.conclude import conclude
from agent.results.report import render_report
from agent.results.schema import SCHEMA, Results, Reviews
from benchmarks.page import DOCS, put, replaced
from tests.campaigns.examples.readme import output, table
from tests.campaigns.records import __main__ as by_hand

RECORDS = Path(__file__).parent / "records"
PAGES = DOCS / "examples"
README = DOCS.parent / "README.md"
SHOWN = {"output": ("demo", output), "compared": ("demo", table)}
"""What README shows between its marks, and of which example."""
DIFFERS = "differs from what its record gives; make examples WRITE=--write"
UNKNOWN = "has no record; keep one, or remove the page"


def examples(records: Path = RECORDS) -> dict[str, RunPaths]:
    """The record of each example, by its name."""
    return {folder.name: RunPaths(folder) for folder in sorted(records.iterdir())}


def page(name: str, pages: Path = PAGES) -> Path:
    return pages / f"{name}.md"


def results_of(record: RunPaths) -> Results:
    """What was measured, and what follows from it today; as it is for a record of an earlier schema."""
    results = Results.model_validate_json(record.results.read_bytes())
    return conclude(results) if results.schema_ == SCHEMA else results


def rendered(record: RunPaths) -> str:
    """The report of that record."""
    reviews = Reviews.model_validate_json(record.review.read_bytes()).reviews if record.review.exists() else ()
    return render_report(results_of(record), reviews)


def shown() -> dict[str, str]:
    """The text between each mark of README."""
    found = examples()
    return {mark: text(results_of(found[name])) for mark, (name, text) in SHOWN.items()}


def stale(records: Path = RECORDS, pages: Path = PAGES) -> list[str]:
    """Examples whose page is missing or not what its record gives, and pages without a record."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in pages.glob("*.md")}
    due = {name: rendered(record) for name, record in examples(records).items()}
    return sorted(name for name in found.keys() | due.keys() if found.get(name) != due.get(name))


def complaints() -> Iterator[str]:
    """One line per report, and per place in README, that is stale."""
    for name in stale():
        yield f"docs/examples/{name}.md: {DIFFERS if name in examples() else UNKNOWN}"
    for mark, text in shown().items():
        if replaced(README, mark, text) != README.read_text(encoding="utf-8"):
            yield f"README.md, {mark}: {DIFFERS}"


def write(records: Path = RECORDS, pages: Path = PAGES) -> None:
    """Every page as its record gives it; a page without a record is left for somebody to decide about."""
    for name, record in examples(records).items():
        page(name, pages).write_text(rendered(record), encoding="utf-8", newline="\n")


def keep(name: str, run: RunPaths, records: Path = RECORDS) -> None:
    """The record of a finished run becomes that of the example. Raises SystemExit for a run without results."""
    if not run.results.exists():
        raise SystemExit(f"{run.folder} has no results.json: name the folder of a finished run")
    folder = records / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (run.results, run.review):
        if path.exists():
            shutil.copyfile(path, folder / path.name)


def play() -> None:
    """The author of tests/campaigns/records answers a new run, which becomes the example `endpoint`; two minutes."""
    with tempfile.TemporaryDirectory(prefix="kdagent-example-") as home:
        keep("endpoint", by_hand.run(Path(home)))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", nargs=2, metavar=("NAME", "RUN"))
    parser.add_argument("--play", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.keep:
        keep(asked.keep[0], RunPaths(Path(asked.keep[1])))
    if asked.play:
        play()
    if asked.write or asked.keep or asked.play:
        write()
        for mark, text in shown().items():
            put(README, mark, text)
    found = list(complaints())
    print(*found, sep="\n", end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
