"""Real child processes under the plain backend; what differs under bubblewrap is in test_isolation.py."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox.errors import LaunchError
from sandbox.isolation import Process
from sandbox.job import Job, Limits
from sandbox.supervisor import Outcome, run

DETACH = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time, pathlib\\n"
                  "for n in range(10**6): pathlib.Path('beat').write_text(str(n)); time.sleep(0.02)"],
                 start_new_session={own_session}, stdout={stdout})
"""


class Lab:
    """A folder for one child, and a shorthand for running Python code in it."""

    def __init__(self, folder: Path) -> None:
        self.write = folder / "out"
        self.write.mkdir()
        self.log = folder / "logs" / "log.txt"

    def run(
        self, code: str, cancelled: threading.Event | None = None, memory: int = 1 << 30, **limits: float
    ) -> Outcome:
        job = Job((sys.executable, "-c", code), (), self.write)
        return run(job, Process(), Limits(**{"wall_s": 20, "memory": memory, **limits}), self.log, cancelled)

    def still_beating(self) -> bool:
        beat = self.write / "beat"
        before = beat.read_text()
        time.sleep(0.2)
        return beat.read_text() != before


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_output_and_status_of_a_good_job(lab: Lab) -> None:
    outcome = lab.run("import sys, time; print('héllo'); print('trouble', file=sys.stderr); time.sleep(0.3)")
    assert (outcome.status, outcome.returncode, outcome.log) == ("ok", 0, lab.log)
    assert outcome.tail == "héllo\ntrouble"
    assert lab.log.read_text() == "héllo\ntrouble\n"
    assert outcome.peak_memory is not None and 1 << 20 < outcome.peak_memory < 100 << 20
    assert 0.3 < outcome.seconds < 10


def test_failing_job_is_an_outcome_with_its_traceback(lab: Lab) -> None:
    outcome = lab.run("raise SystemError('broken')")
    assert (outcome.status, outcome.returncode) == ("error", 1)
    assert outcome.tail.endswith("SystemError: broken")


def test_crash_shows_its_signal(lab: Lab) -> None:
    outcome = lab.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (outcome.status, outcome.returncode) == ("error", -11)


def test_missing_program_cannot_be_launched(lab: Lab) -> None:
    with pytest.raises(LaunchError, match="nul"):
        run(Job(("/bin/true", "nul\0"), (), lab.write), Process(), Limits(5, 1 << 30), lab.log)


def test_log_never_follows_a_planted_link(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("untouched")
    lab.log.parent.mkdir()
    lab.log.symlink_to(tmp_path / "precious")
    lab.run("print('new')")
    assert lab.log.read_text() == "new\n"
    assert (tmp_path / "precious").read_text() == "untouched"


def test_unwritable_log_is_a_launch_error(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, not a folder")
    with pytest.raises(LaunchError, match="cannot write the log"):
        lab.run("pass")


def test_timeout_kills_children(lab: Lab) -> None:
    outcome = lab.run(DETACH.format(own_session=False, stdout=None) + "import time; time.sleep(60)", wall_s=1)
    assert outcome.status == "timeout"
    assert outcome.seconds < 3
    assert outcome.tail == "[kdagent: stopped, it ran longer than 1 s]"
    assert not lab.still_beating()


def test_timeout_kills_a_grandchild_in_its_own_session(lab: Lab) -> None:
    middle = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {DETACH!r}.format("
    middle += "own_session=True, stdout=None) + 'import time; time.sleep(60)']); time.sleep(60)"
    outcome = lab.run(middle, wall_s=2)
    assert outcome.status == "timeout"
    assert not lab.still_beating()


def test_what_a_good_job_leaves_running_is_killed(lab: Lab) -> None:
    outcome = lab.run(DETACH.format(own_session=True, stdout=None) + "import time; time.sleep(0.6); print('done')")
    assert (outcome.status, outcome.tail) == ("ok", "done")
    assert outcome.seconds < 5  # the survivor held the pipe open
    assert not lab.still_beating()


def test_ignoring_signals_does_not_help(lab: Lab) -> None:
    code = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    outcome = lab.run(code, wall_s=0.5)
    assert (outcome.status, outcome.returncode) == ("timeout", -9)
    assert outcome.seconds < 2.5


def test_cancel_stops_the_job(lab: Lab) -> None:
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    outcome = lab.run("import time; time.sleep(60)", cancelled)
    assert outcome.status == "cancelled"
    assert outcome.seconds < 3


def test_memory_hog_is_stopped(lab: Lab) -> None:
    outcome = lab.run("held = []\nwhile True: held.append(bytearray(1 << 20))", memory=200 << 20)
    assert outcome.status == "memory"
    assert outcome.peak_memory is not None and outcome.peak_memory > 200 << 20
    assert "limit 200]" in outcome.tail


def test_memory_of_all_processes_counts_together(lab: Lab) -> None:
    code = "import os, time\nfor _ in range(3): os.fork()\nheld = bytearray(b'x') * (50 << 20)\ntime.sleep(20)"
    assert lab.run(code, memory=300 << 20).status == "memory"


def test_shared_memory_counts_once(lab: Lab) -> None:
    code = "import os, time\nheld = bytearray(b'x') * (50 << 20)\nfor _ in range(3): os.fork()\ntime.sleep(1)"
    assert lab.run(code, memory=300 << 20).status == "ok"


def test_too_many_processes_are_stopped(lab: Lab) -> None:
    outcome = lab.run("import os, time\nfor _ in range(4): os.fork()\ntime.sleep(60)", processes=10)
    assert outcome.status == "error"
    assert "16 processes, limit 10" in outcome.tail


def test_file_size_is_limited(lab: Lab) -> None:
    code = "f = open('big', 'wb')\nfor _ in range(8): f.write(bytes(1 << 20))"
    assert lab.run(code, file_size=2 << 20).status == "error"
    assert (lab.write / "big").stat().st_size <= 2 << 20


def test_flood_is_drained_and_bounded(lab: Lab) -> None:
    code = "import os\nprint('first')\nfor n in range(2000): os.write(1, b'flood\\n' * 10_000)\nprint('last')"
    outcome = lab.run(code, output=10_000)
    assert outcome.status == "ok"
    assert lab.log.stat().st_size < 10_100
    assert lab.log.read_text().startswith("first\nflood\n")
    assert "bytes left out]\n" in lab.log.read_text()
    assert outcome.tail.endswith("flood\nlast")
    assert outcome.tail.count("\n") == 39


def test_endless_flood_meets_the_wall_limit(lab: Lab) -> None:
    outcome = lab.run("while True: print('flood' * 1000)", wall_s=1, output=10_000)
    assert outcome.status == "timeout"
    assert outcome.seconds < 3
    assert lab.log.stat().st_size < 10_200


def test_closed_output_does_not_end_the_watch(lab: Lab) -> None:
    outcome = lab.run("import os, time; os.close(1); os.close(2); time.sleep(60)", wall_s=1)
    assert outcome.status == "timeout"


def test_control_characters_do_not_reach_the_tail(lab: Lab) -> None:
    outcome = lab.run(r"print('\x1b]52;c;aGk=\x07 \u202e evil \x1b[2J', 'tab\t', '10%\r20%')")
    assert outcome.tail == "\\x1b]52;c;aGk=\\x07 \\u202e evil \\x1b[2J tab\t 10%\n20%"


def test_child_reads_nothing_and_inherits_no_descriptor(lab: Lab) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    outcome = lab.run(
        "import os, sys; print(repr(sys.stdin.read()), sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    )
    os.close(reader)
    os.close(writer)
    assert outcome.tail == "'' [0, 1, 2]"


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    outcomes: dict[str, Outcome] = {}

    def one(name: str, wall_s: float) -> None:
        (tmp_path / name).mkdir()
        outcomes[name] = Lab(tmp_path / name).run(f"import time; print({name!r}); time.sleep(1.5)", wall_s=wall_s)

    threads = [threading.Thread(target=one, args=pair) for pair in (("a", 20.0), ("b", 20.0), ("c", 0.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: outcome.status for name, outcome in outcomes.items()} == {"a": "ok", "b": "ok", "c": "timeout"}
    assert outcomes["a"].tail == "a"
