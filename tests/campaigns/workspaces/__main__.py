"""Every hostile workspace, read carelessly and by us.

    python -m tests.campaigns.workspaces [--write | --json]

Exits with 1 unless each bites a careless parent and none bites us. `--write` puts the table into docs/security.md.
"""

import json
import sys
from dataclasses import asdict

from benchmarks.page import DOCS, put
from tests.campaigns.workspaces.hostile import CONTROLS, WORKSPACES
from tests.campaigns.workspaces.trying import Tried, tried


def main(words: list[str]) -> int:
    hostile, controls = ([tried(each) for each in group] for group in (WORKSPACES, CONTROLS))
    if "--json" in words:
        print(json.dumps([asdict(each) for each in (*hostile, *controls)]))
        return 0
    held = sum(each.bites and each.holds for each in hostile)
    passed = sum(each.holds for each in controls)
    text = f"{table([*hostile, *controls])}\n\n{held} of {len(hostile)} hostile workspaces, "
    text += f"{passed} of {len(controls)} controls\n"
    print(text)
    if "--write" in words:
        put(DOCS / "security.md", "workspaces", text)
    return 0 if held == len(hostile) and passed == len(controls) else 1


def table(rows: list[Tried]) -> str:
    lines = ["| workspace | careless parent | kdagent |", "|---|---|---|"]
    for row in rows:
        wrong = "" if row.holds else " **WRONG**"
        careless = row.careless if row.bites else f"{row.careless} **does not bite**"
        lines.append(f"| {row.name} | {_cell(careless)} | {_cell(row.ours)}{wrong} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text).replace("|", "\\|")
    return shown if len(shown) <= 90 else shown[:90] + "…"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
