"""kdagent by a clock that was moved back by a day: python -m tests.agent.yesterday WORDS…"""

import datetime
import sys
import time
from typing import Any

DAY = datetime.timedelta(days=1)


class Yesterday(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return super().now(tz) - DAY


def move_back() -> None:
    """Before LangGraph asks what time it is; a type that the whole process shares cannot be exchanged."""
    from agent.record import events, runs

    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() - DAY.total_seconds()
    time.time_ns = lambda: nanoseconds() - int(DAY.total_seconds()) * 10**9
    vars(events)["datetime"] = vars(runs)["datetime"] = Yesterday


if __name__ == "__main__":
    move_back()
    from agent.cli import main

    sys.exit(main(sys.argv[1:]))
