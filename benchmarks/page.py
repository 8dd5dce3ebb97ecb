"""Pages whose tables commands write: what stands between `<!-- mark -->` and `<!-- /mark -->` is theirs."""

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def put(page: Path, mark: str, text: str) -> None:
    """Raises ValueError for a page that has no such marks."""
    page.write_text(replaced(page, mark, text), encoding="utf-8")


def replaced(page: Path, mark: str, text: str) -> str:
    """The page with that text. Raises ValueError as above."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no place for the table: {begin} and {end} are missing")
    return f"{before}{begin}\n{text.rstrip()}\n{end}{after}"
