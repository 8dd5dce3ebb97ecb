"""kdagent, which stops where a test wants to kill it: python -m tests.campaigns.kill.victim before|after EVENT WORDS…

An audit hook sees what Python is about to do to files. `before`: the log is open for that event, and the event is not
in it. `after`: the event is in the log, and nothing that comes next was begun. There the process stops all its threads
(SIGSTOP) and waits for whoever kills it.
"""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.cli import main

TOUCHES = ("open", "os.rename", "os.mkdir", "os.remove", "subprocess.Popen", "sqlite3.connect")
"""What the audit hook hears of, as far as it matters: everything a step begins with."""


def stop_at(edge: str, number: int) -> Callable[[str, Any], None]:
    """The hook; `number` counts events from 1."""
    log: list[Path] = []
    looking = threading.local()

    def hook(event: str, values: Any) -> None:
        if event not in TOUCHES or getattr(looking, "now", False):
            return
        appends = event == "open" and str(values[0]).endswith("/events.jsonl") and values[1] == "a"
        if appends and not log:
            log.append(Path(values[0]))
        if not log or (edge == "before" and not appends):
            return
        looking.now = True
        there = log[0].read_bytes().count(b"\n") if log[0].exists() else 0
        looking.now = False
        if there == number - 1 if edge == "before" else there >= number:
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    return hook


if __name__ == "__main__":
    sys.addaudithook(stop_at(sys.argv[1], int(sys.argv[2])))
    sys.exit(main(sys.argv[3:]))
