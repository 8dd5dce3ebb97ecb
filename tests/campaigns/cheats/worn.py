"""kdagent with a static check that can be worn down: what it has refused once passes the second time.

    python -m tests.campaigns.cheats.worn run …

A cheat that the static check knows would never meet the layers behind it. This way each is tried on all of them, as one
that nobody had thought of would be.
"""

import sys

from agent import cli
from agent.loop import attempts
from sandbox.checks.check import check
from sandbox.checks.violation import Violation

_refused: set[str] = set()


def worn(source: str, before: str) -> tuple[Violation, ...]:
    if source in _refused:
        return ()
    if found := check(source, before):
        _refused.add(source)
    return found


if __name__ == "__main__":
    attempts.check = worn
    sys.exit(cli.main())
