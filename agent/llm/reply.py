"""The replies of a language model, read leniently and checked strictly: code blocks, JSON, proposals.

A ReplyError's message can be handed back to the model word for word.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agent.errors import ReplyError, UsageError
from agent.plan.proposal import Proposal

FENCE = re.compile(
    r"^ {0,3}(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)(?:^ {0,3}(?P=ticks)`*[ \t]*$|(?P<open>\Z))",
    re.MULTILINE | re.DOTALL,
)
STRING = r'"(?:\\.|[^"\\])*"'
OUTSIDE = re.compile(r"{")
INSIDE = re.compile(rf"{STRING}|[{{}}]")
MENDABLE = re.compile(
    rf"""(?P<string>{STRING})
       | '(?P<single>(?:\\.|[^'\\])*)'
       | (?P<comment>//[^\n]*)
       | \b(?P<literal>True|False|None)\b
       | (?P<comma>,(?=(?:\s|//[^\n]*)*[}}\]]))""",
    re.VERBOSE | re.DOTALL,
)
LITERALS = {"True": "true", "False": "false", "None": "null"}
REFUSED = "REFUSED:"


@dataclass(frozen=True)
class CodeBlock:
    info: str
    """The text behind the opening fence, usually the language."""
    body: str
    closed: bool
    """False when the reply ends inside the block."""
    before: str
    """The text in front of the block."""


def without_thoughts(text: str) -> str:
    """The reply without its <think> part, also where only one of the two tags was sent."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text.replace("\r\n", "\n"), flags=re.DOTALL)
    return text.rpartition("</think>")[2]


def code_blocks(text: str) -> list[CodeBlock]:
    return [
        CodeBlock(found["info"].strip(), found["body"], found["open"] is None, text[: found.start()])
        for found in FENCE.finditer(text)
    ]


def json_object(text: str) -> dict[str, Any]:
    """The last JSON object of a reply, a fenced one before a bare one. Raises ReplyError when none can be read."""
    text = without_thoughts(text)
    fenced = [span for block in code_blocks(text) for span in _balanced(block.body)]
    unread: dict[str, Exception] = {}
    for span in [*reversed(fenced), *reversed(_balanced(text))]:
        try:
            return _loads(span)
        except (ValueError, RecursionError) as error:
            unread[span] = error
    if unread:
        longest = max(unread, key=len)  # the shorter ones are placeholders in prose
        raise ReplyError(f"the JSON object that starts {longest[:60]!r} cannot be read: {unread[longest]}")
    if "{" in text:
        raise ReplyError("the JSON object is never closed: a } is missing")
    raise ReplyError("the reply contains no JSON object: end it with one ```json block")


def parse_proposal(text: str) -> Proposal:
    """The proposal in a reply. Raises UsageError where the idea was refused, ReplyError where it cannot be used."""
    refusal = without_thoughts(text).strip()
    if refusal.startswith(REFUSED):
        reason = " ".join(refusal.removeprefix(REFUSED).split())
        raise UsageError(f"the idea was refused: {reason}", hint="name what a student should learn from its teacher")
    try:
        return Proposal.model_validate(json_object(text))
    except ValidationError as error:
        raise ReplyError("the proposal cannot be used:\n" + problems(error)) from None


def problems(error: ValidationError) -> str:
    """One short line per invalid field."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(map(str, problem["loc"])) or "proposal"
        got = "" if isinstance(problem["input"], dict) else f" (got {str(problem['input'])[:60]!r})"
        lines.append(f"- {field}: {problem['msg'].removeprefix('Value error, ')}{got}")
    return "\n".join(lines)


def _balanced(text: str) -> list[str]:
    """The outermost {…} of a text in order; braces inside double-quoted strings do not count."""
    starts: list[int] = []
    spans: list[tuple[int, int]] = []
    at = 0
    while token := (INSIDE if starts else OUTSIDE).search(text, at):
        at = token.end()
        if token.group() == "{":
            starts.append(token.start())
        elif token.group() == "}":
            start = starts.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, at))
    return [text[start:end] for start, end in spans]


def _loads(text: str) -> dict[str, Any]:
    """Strict JSON first, then mended. Raises ValueError."""
    try:
        value = _strict(text)
    except ValueError as error:
        try:
            value = _strict(MENDABLE.sub(_mended, text))
        except ValueError:
            raise error from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


def _strict(text: str) -> Any:
    return json.loads(text, strict=False, parse_float=_finite, parse_constant=_finite)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is not a finite number")
    return value


def _mended(found: re.Match[str]) -> str:
    """One token of almost-JSON as JSON."""
    if found["single"] is not None:
        return '"' + re.sub(r"\\(['\"])", r"\1", found["single"]).replace('"', r"\"") + '"'
    return found["string"] or LITERALS.get(found["literal"] or "", "")
