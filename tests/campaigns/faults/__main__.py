"""`python -m tests.campaigns.faults [--write]`: the table of faults, on the terminal or into docs/security.md."""

import sys

from tests.campaigns.faults.test_faults import table, write  # from there: its decorators fill the table

if "--write" in sys.argv:
    write()
else:
    print(table())
