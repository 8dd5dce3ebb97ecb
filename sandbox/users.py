"""The users that root's jobs run as: each job has an id of its own, which belongs to nobody else.

Source of the range: systemd, "Users, Groups, UIDs and GIDs", 1879048192 to 2147483647. A container that maps few ids
has none of these: there it is one of the last, below `nobody`.
"""

import os
import secrets
import sys


def unused_uid() -> int | None:
    """A user id for one job; None where we are not root or there is no other id."""
    ids = job_ids() if os.geteuid() == 0 else range(0)
    return ids[secrets.randbelow(len(ids))] if ids else None


def job_ids() -> range:
    """Every id that a job of root's may have here."""
    if sys.platform != "linux":
        return range(0)
    with open("/proc/self/uid_map") as lines:
        known = max(int(first) + int(count) for first, _, count in map(str.split, lines))
    if known >= 1 << 31:
        return range(0x7000_0000, 0x8000_0000)
    return range(known - 4999, known - 999) if known > 10_000 else range(0)
