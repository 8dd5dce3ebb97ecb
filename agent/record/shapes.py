"""The shape of an event's data, by its kind: what those who read the log take from it, each of its type.

Events may carry more, and early ones less: a name that ends in `?` may be missing. Asked where a record is somebody
else's or is verified; whoever appends reads the log at every event, and does not ask.
"""

from collections.abc import Mapping
from functools import cache

from sandbox.schema import Check, choice, either, holding, integer, items, mapping, number, text

LONG = 1 << 20  # characters of a traceback, and of the hashes of a file's lines
MOST = 100_000
WORD, WORDS = text(LONG), mapping(text(LONG), MOST)
COUNT = integer(0, 1 << 31)
EVERY = {"files?": WORDS, "lines?": WORDS}
KINDS: Mapping[str, Mapping[str, Check]] = {
    "planned": {"hash": WORD, "warnings?": items(WORD, MOST)},
    "reviewed": {
        "about": choice("plan", "report"),
        "subject": WORD,
        "decision": choice("approve", "reject", "comment"),
        "text": text(4000),
        "author": text(200),
        "time": WORD,
    },
    "workspace": {"commits": WORDS},
    "teachers": {"weights": WORDS},
    "trial": {"arm?": WORD, "track?": WORD, "seed?": integer(-(1 << 63), 1 << 64), "status?": WORD, "weights?": WORD},
    "attempt": {"number?": COUNT, "commit?": WORD, "tree?": WORD},
    "piloted": {"number?": COUNT, "commit": WORD, "problem": WORD},
    "decided": {
        "number?": COUNT,
        "commit?": WORD,
        "dev_score?": either(choice(None), number(-1e9, 1e9)),
        "outcome?": choice("kept", "discarded", "rejected"),
        "reason?": WORD,
    },
    "test predicted": {"arm": WORD},
    "made again": {"what": WORD},
    "stopped": {"status": WORD, "reason": WORD},
    "resumed": {"altered": items(WORD, MOST)},
    "measured": {"code?": WORD, "training_code?": WORD, "results?": COUNT},
}


def problem(event: Mapping[str, object]) -> str:
    """What no reader of the log could take, or ""."""
    kind = str(event["kind"])
    return _check(kind if kind in KINDS else "")(dict(event))


@cache
def _check(kind: str) -> Check:
    data = holding({**EVERY, **KINDS.get(kind, {})})
    return holding({"seq": COUNT, "kind": WORD, "previous": WORD, "hash": WORD, "data": data})
