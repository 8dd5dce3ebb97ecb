"""What the embedded recipes make of one-line ideas in researchers' words.

python -m tests.campaigns.ideas [--write]    --write puts the table into docs/methods.md
"""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.llm.conversation import Message
from agent.llm.prompts import plan_text
from agent.llm.recipes import Recipes
from agent.llm.reply import REFUSED
from benchmarks.page import DOCS, put

FILES = sorted(Path(__file__).parent.glob("*.toml"))
"""Ideas of many methods in one file, those of a method that came later in a file of its own."""
IDEAS: list[dict[str, Any]] = [idea for file in FILES for idea in tomllib.loads(file.read_text())["idea"]]


def chosen(idea: dict[str, Any]) -> str:
    """The method that an idea gets, or "refused"."""
    kinds = idea.get("kinds", ["text", "image"])
    tracks = [{"name": kind, "kind": kind, "teacher_layers": 6, "student_layers": 3} for kind in kinds]
    prompt = plan_text(idea["said"], {"tracks": tracks, "fixed_by_user": {}})
    reply = Recipes().complete("plan", [Message("user", prompt)]).text
    if reply.startswith(REFUSED):
        return "refused"
    method: str = json.loads(reply.partition("```json\n")[2].partition("\n```")[0])["method"]
    return method


def missed() -> Iterator[tuple[str, str, str]]:
    """(idea, what it got, what would have fitted)."""
    for idea in IDEAS:
        if (got := chosen(idea)) not in idea["want"]:
            yield idea["said"], got, " or ".join(idea["want"])


def main(words: list[str]) -> int:
    misses = list(missed())
    text = f"{len(IDEAS) - len(misses)} of {len(IDEAS)} ideas got a fitting method or a fitting refusal.\n"
    if misses:
        text += "\n| idea | got | fitting |\n|---|---|---|\n" + "".join(f"| {' | '.join(miss)} |\n" for miss in misses)
    print(text)
    if "--write" in words:
        put(DOCS / "methods.md", "ideas", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
