"""Leaves what a real process of a run left before, file by file, so that a kill finds it half done.

    python -I -S puppet.py KEPT OUT

It runs where the real one would: isolated, as the same user. Readings of clocks come out different each time, as they
would; the hash of a trace that teacher.json carries goes along.
"""

import hashlib
import json
import random
import re
import sys
import time
from pathlib import Path

MOMENT = 0.03  # seconds between two writes, at most
SECONDS = re.compile(rb'("(?:\w+_)?seconds": )[0-9.e-]+')


def play(kept: Path, out: Path) -> None:
    """The files that were written last come last: they mark the others as whole."""
    traces = {}
    for file in sorted((path for path in kept.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns):
        data, name = file.read_bytes(), file.relative_to(kept)
        if file.suffix in (".json", ".jsonl"):
            data = SECONDS.sub(lambda found: found[1] + b"%.6f" % random.uniform(1, 2), data)
        if file.name == "trace.jsonl":
            traces[name.parent] = hashlib.sha256(data).hexdigest()
        if file.name == "teacher.json" and name.parent in traces:
            said = json.loads(data)
            said["files"]["trace.jsonl"] = traces[name.parent]
            data = json.dumps(said).encode()
        _write(out / name, data)


def _write(path: Path, data: bytes) -> None:
    """Marks are written aside and renamed, as the real processes do; everything else in parts under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.suffix == ".json"
    target = path.with_suffix(".part") if whole else path
    target.unlink(missing_ok=True)
    with target.open("wb") as stream:
        for at in range(0, len(data) or 1, max(1, len(data) // 3)):
            stream.write(data[at : at + max(1, len(data) // 3)])
            stream.flush()
            time.sleep(random.uniform(0, MOMENT))
    if whole:
        target.rename(path)


if __name__ == "__main__":
    play(Path(sys.argv[1]), Path(sys.argv[2]))
