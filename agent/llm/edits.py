"""Edits of train.py as a language model writes them: SEARCH/REPLACE blocks, or the whole file in one code fence.

An edit applies exactly, or with its indentation shifted as a whole; nothing is ever guessed.
"""

import re
from dataclasses import dataclass

from agent.errors import EditError, NoFurtherEdit
from agent.llm.reply import CodeBlock, code_blocks, without_thoughts

FILE = "train.py"
NO_FURTHER_EDIT = "NO FURTHER EDIT"
OPENING = re.compile(r"^<{5,9} SEARCH[^\n]*\n", re.MULTILINE)
BODY = re.compile(r"(?P<search>.*?)^={5,9}[ \t]*\n(?P<replace>.*?)^>{5,9} REPLACE", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"[\s`#*]*(?:python[ :])?(?P<path>[\w./\\-]+\.(?:py|toml|json|ya?ml|md|txt|sh|cfg|ini))[\s`*:]*")


@dataclass(frozen=True)
class Edit:
    search: list[str]
    replace: list[str]


def apply(reply_text: str, source: str) -> str:
    """The source of train.py after the edits in a reply, whose line ends become those of the file.

    Raises EditError, which tells what to write instead, and NoFurtherEdit where the model offers none.
    """
    text = without_thoughts(reply_text.replace("\r\n", "\n"))
    edits = _edits(text)
    edited = _patched(edits, source) if edits else _whole_file(text)
    if edited == source:
        raise EditError(f"the edit changes nothing: {FILE} would stay as it is")
    return edited


def _edits(text: str) -> list[Edit]:
    pieces = OPENING.split(text)
    edits, lead = [], pieces[0]
    for number, piece in enumerate(pieces[1:], start=1):
        name = f"edit {number} of {len(pieces) - 1}"
        _refuse_other_file(name, lead)
        found = BODY.match(piece)
        if not found:
            raise EditError(f"{name} is not finished: write SEARCH, =======, >>>>>>> REPLACE, each on its own line")
        edits.append(Edit(_lines(found["search"]), _lines(found["replace"])))
        lead = piece[found.end() :]
    return edits


def _refuse_other_file(name: str, lead: str) -> None:
    """A path may stand on the line before an edit, or behind the fence that opens around it."""
    lines = [line for line in lead.splitlines() if line.strip()]
    for line in lines[:-3:-1]:
        named = PATH.fullmatch(line)
        if named and named["path"].removeprefix("./") != FILE:
            raise EditError(f"{name} names {named['path']}: only {FILE} may change")
        if named or not line.lstrip().startswith("```"):
            return


def _lines(text: str) -> list[str]:
    return text.split("\n")[:-1]


def _patched(edits: list[Edit], source: str) -> str:
    lines = source.split("\n")
    for number, edit in enumerate(edits, start=1):
        name = f"edit {number} of {len(edits)}"
        start, shift = _place(name, lines, edit.search)
        lines[start : start + len(edit.search)] = [_shifted(line, shift) for line in edit.replace]
    return "\n".join(lines)


def _place(name: str, lines: list[str], search: list[str]) -> tuple[int, int]:
    """The one place the search text stands at: index of its first line, and by how many columns it is shifted."""
    problem = f"{name} does not apply to {FILE}: "
    if not any(line.strip() for line in search):
        raise EditError(problem + "the search text is empty")
    places = _places(lines, search)
    if not places:
        raise EditError(
            problem + f"the search text, which starts {search[0].strip()!r}, does not occur",
            hint="copy the lines exactly as they are in the file",
        )
    if len(places) > 1:
        where = ", ".join(str(start + 1) for start, _ in places)
        raise EditError(
            problem + f"the search text occurs {len(places)} times (lines {where})", hint="include the line above it"
        )
    return places[0]


def _places(lines: list[str], search: list[str]) -> list[tuple[int, int]]:
    """Every exact match; where there is none, every match but for white space."""
    windows = {start: lines[start : start + len(search)] for start in range(len(lines) - len(search) + 1)}
    exact = [(start, 0) for start, window in windows.items() if window == search]
    loose = ((start, _shift(window, search)) for start, window in windows.items())
    return exact or [(start, shift) for start, shift in loose if shift is not None]


def _shift(window: list[str], search: list[str]) -> int | None:
    """By how many columns all lines of the search text are shifted in the file; None where the text differs."""
    if [line.split() for line in window] != [line.split() for line in search]:
        return None
    shifts = {_indent(ours) - _indent(theirs) for ours, theirs in zip(window, search, strict=True) if ours.strip()}
    return shifts.pop() if len(shifts) == 1 else None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _shifted(line: str, columns: int) -> str:
    if not line.strip():
        return ""
    return " " * columns + line if columns >= 0 else line[min(-columns, _indent(line)) :]


def _whole_file(text: str) -> str:
    blocks = [block for block in code_blocks(text) if re.match(r"(?:python|py)?(?![\w-])", block.info)]
    whole = [block for block in blocks if block.closed and re.search(r"^def train\(", block.body, re.MULTILINE)]
    if len(whole) == 1:
        return _file(whole[0])
    if whole:
        raise EditError(f"the reply contains {len(whole)} whole files: send {FILE} once")
    if any(not block.closed for block in blocks):
        raise EditError("the code fence is never closed, so the file is cut off: send it again, whole")
    if blocks:
        raise EditError(f"the code is not a whole {FILE}: `def train(` is missing; send it whole, or as SEARCH/REPLACE")
    if re.search(rf"^\W*{NO_FURTHER_EDIT}\b", text, re.MULTILINE):
        raise NoFurtherEdit("the model has no further edit to offer")
    raise EditError("the reply contains no edit: send SEARCH/REPLACE blocks, or the whole file in one ```python fence")


def _file(block: CodeBlock) -> str:
    _refuse_other_file("the whole file", f"{block.before}\n```{block.info}")
    return block.body.rstrip("\n") + "\n"
