"""python -m tests.campaigns.probes [--write]: all probes, every fence, as root and as an ordinary user; minutes.

Ends with status 1 when something was not contained that should be, or a probe was never seen to bite.
"""

import argparse
import sys

from benchmarks.page import DOCS, put
from tests.campaigns.probes import table
from tests.campaigns.probes.column import COLUMNS, measure
from tests.campaigns.probes.probes import ALL


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.probes", description="Runs the hostile probes.")
    parser.add_argument("--write", action="store_true", help="put the table into docs/security.md")
    write = parser.parse_args().write
    verdicts: table.Verdicts = {}
    for column in COLUMNS:
        print(f"{column} …", file=sys.stderr, flush=True)
        verdicts[column] = measure(column, [probe.name for probe in ALL])
    text = table.markdown(verdicts)
    print(text)
    if write:
        put(DOCS / "security.md", "probes", text)
    wrong = list(table.faults(verdicts))
    for fault in wrong:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
