"""Real child processes under the plain backend; what differs under bubblewrap is in test_isolation.py."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox.errors import LaunchError
from sandbox.isolation.job import Job, Launch, Limits
from sandbox.isolation.process import Process
from sandbox.isolation.supervisor import Outcome, run
from tests.sandbox.ordinary import as_user

ROOT = Path(__file__).parents[3]

DETACH = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time, pathlib\\n"
                  "for n in range(10**6): pathlib.Path('beat').write_text(str(n)); time.sleep(0.02)"],
                 start_new_session={own_session}, stdout={stdout})
"""


BEAT = """
import time, pathlib
for n in range(10**6): pathlib.Path('beat').write_text(str(n)); time.sleep(0.02)
"""

RESPAWN = """
import os, time
if os.fork() == 0:
    generation = 0
    while True:
        os.setsid()
        open('beat', 'w').write(str(generation := generation + 1))
        time.sleep(0.002)
        if os.fork(): os._exit(0)
time.sleep(60)
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
    assert (outcome.status, outcome.returncode) in {("error", -11), ("error", 128 + 11)}  # plain, or by a launcher


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
    assert outcome.status == "timeout"
    assert outcome.seconds < 2.5


def test_daemon_does_not_outlive_the_job(lab: Lab) -> None:
    fork_twice = f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: exec({BEAT!r})\n    time.sleep(1)"
    lab.run(f"import os, time\n{fork_twice}\ntime.sleep(0.7)")
    assert not lab.still_beating()


def test_respawner_is_ended(lab: Lab) -> None:
    """Each of its processes lives for some milliseconds, in a session of its own."""
    outcome = lab.run(RESPAWN, wall_s=1)
    assert outcome.status == "timeout"
    assert outcome.seconds < 3.5
    assert not lab.still_beating()


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


def test_memory_that_is_held_but_not_mapped_counts(lab: Lab) -> None:
    hog = (
        "import os, time; f = os.memfd_create('held')\nfor _ in range(300): os.write(f, bytes(1 << 20))\ntime.sleep(60)"
    )
    assert lab.run(hog, memory=200 << 20).status == "memory"


def test_memory_shared_and_mapped_counts_once(lab: Lab) -> None:
    code = (
        "import mmap, os, time; f = os.memfd_create('held'); os.ftruncate(f, 100 << 20); m = mmap.mmap(f, 100 << 20)\n"
    )
    code += (
        "for _ in range(2): os.fork()\nfor n in range(100): m[n << 20 : n + 1 << 20] = bytes(1 << 20)\ntime.sleep(1.5)"
    )
    assert lab.run(code, memory=250 << 20).status == "ok"


def test_processor_time_counts_over_processes_and_threads(lab: Lab) -> None:
    outcome = lab.run("import os\nfor _ in range(2): os.fork()\nwhile True: pass", cpu_s=1)
    assert outcome.status == "cpu"
    assert outcome.tail.endswith(" s of processor time, limit 1]")


def test_processor_time_of_ended_children_counts(lab: Lab) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    code = f"import subprocess, sys\nfor _ in range(100): subprocess.run([sys.executable, '-c', {burn!r}])"
    assert lab.run(code, cpu_s=0.5).status == "cpu"


def test_processor_time_of_children_nobody_waits_for_counts(lab: Lab) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.5: pass
        os._exit(0)
    time.sleep(0.5)
"""
    assert lab.run(code, cpu_s=0.5).status == "cpu"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGXCPU, "cpu"), (signal.SIGXFSZ, "disk"), (9, "error")])
def test_signals_of_kernel_limits_are_told_apart(lab: Lab, number: int, status: str) -> None:
    code = f"import os, signal; signal.signal(25, signal.SIG_DFL); os.kill(os.getpid(), {int(number)})"
    assert lab.run(code).status == status


def test_too_many_processes_are_stopped(lab: Lab) -> None:
    outcome = lab.run("import os, time\nfor _ in range(4): os.fork()\ntime.sleep(60)", processes=10)
    assert outcome.status == "processes"
    assert outcome.tail.endswith("processes, limit 10]")


def test_fork_bomb_is_stopped(lab: Lab) -> None:
    bomb = "import os, time\nfor _ in range(7):\n    os.fork(); time.sleep(0.1)\ntime.sleep(60)"
    outcome = lab.run(bomb, processes=20)
    assert outcome.status == "processes"
    assert outcome.seconds < 5


def test_file_size_is_limited(lab: Lab) -> None:
    code = "f = open('big', 'wb')\nfor _ in range(8): f.write(bytes(1 << 20))"
    outcome = lab.run(code, file_size=2 << 20)
    assert outcome.status == "disk"
    assert outcome.tail.endswith("[kdagent: a file reached the limit of 2 MiB]")
    assert (lab.write / "big").stat().st_size <= 2 << 20


def test_disk_filled_by_many_files_is_stopped(lab: Lab) -> None:
    code = "import time\nfor n in range(60): open(str(n), 'wb').write(bytes(1 << 20))\ntime.sleep(60)"
    outcome = lab.run(code, disk=30 << 20)
    assert outcome.status == "disk"
    assert "[kdagent: stopped, its folder contained 3" in outcome.tail and outcome.tail.endswith("limit 30]")


def test_disk_left_full_counts_even_after_a_good_end(lab: Lab) -> None:
    outcome = lab.run("open('big', 'wb').write(bytes(5 << 20))", disk=3 << 20)
    assert (outcome.status, outcome.returncode) == ("disk", 0)


def test_deleted_file_that_is_held_open_counts(lab: Lab) -> None:
    code = "import os, time; f = open('big', 'wb', 0); os.remove('big'); f.write(bytes(40 << 20)); time.sleep(60)"
    assert lab.run(code, disk=30 << 20).status == "disk"


def test_locked_folder_hides_nothing(lab: Lab) -> None:
    code = "import os, time; os.makedirs('a/b'); open('a/b/big', 'wb').write(bytes(5 << 20)); os.chmod('a', 0)"
    assert lab.run(code, disk=3 << 20).status == "disk"


def test_a_job_that_hides_what_it_holds_open_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "ours" / "out").mkdir(parents=True)
    hides = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); time.sleep(60)"  # PR_SET_DUMPABLE
    code = f"""
import sys
from pathlib import Path
from sandbox.isolation.process import Process
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.supervisor import run
ours = Path({str(tmp_path / "ours")!r})
print(run(Job((sys.executable, "-c", {hides!r}), (), ours / "out"), Process(), Limits(20, 1 << 30), ours / "log").tail)
"""
    assert (
        "the files in its folder cannot be counted: [Errno 13] Permission denied"
        in as_user(code, tmp_path / "ours").stdout
    )


def test_sparse_file_counts_what_it_holds(lab: Lab) -> None:
    code = "import time; f = open('holes', 'wb'); f.seek(1 << 30); f.write(b'x'); f.flush(); time.sleep(0.8)"
    assert lab.run(code, disk=1 << 20).status == "ok"


def test_too_many_files_are_stopped(lab: Lab) -> None:
    code = "import time\nfor n in range(500): open(str(n), 'w')\ntime.sleep(60)"
    outcome = lab.run(code, files=300)
    assert outcome.status == "files"
    assert "limit 300]" in outcome.tail


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
    outcome = lab.run("while True: print('flood' * 1000)", wall_s=1, flood=1 << 40, output=10_000)
    assert outcome.status == "timeout"
    assert outcome.seconds < 3
    assert lab.log.stat().st_size < 10_200


def test_flood_over_its_limit_is_stopped(lab: Lab) -> None:
    outcome = lab.run("while True: print('flood' * 100_000)", flood=200 << 20, output=10_000)
    assert outcome.status == "output"
    assert re.fullmatch(r"\[kdagent: stopped, it wrote \d+ MiB of output, limit 200\]", outcome.tail.splitlines()[-1])
    assert lab.log.stat().st_size < 10_200


def test_log_that_cannot_be_written_stops_the_job(lab: Lab) -> None:
    code = f"""
import resource, sys, threading
from pathlib import Path
from sandbox.isolation.process import Process
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.supervisor import run
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
job = Job((sys.executable, "-c", "while True: print('text' * 100)"), (), Path({str(lab.write)!r}))
print(run(job, Process(), Limits(20, 1 << 30), Path({str(lab.log)!r})).status)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "disk\n"


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


# what is handed to the child and lent to its user


class Prepared:
    """A backend that starts the job as another user, or hands it something to read."""

    name, level = "prepared", 0
    protects: tuple[str, ...] = ()
    not_protected: tuple[str, ...] = ()

    def __init__(self, owner: int | None = None, **attached: bytes) -> None:
        self.owner, self.attached = owner, attached

    def problem(self) -> str | None:
        return None

    def launch(self, job: Job, limits: Limits) -> Launch:
        drop = ("setpriv", f"--reuid={self.owner}", f"--regid={self.owner}", "--clear-groups") if self.owner else ()
        return Launch((*drop, *job.argv), dict(os.environ), job.write, self.attached, self.owner)


def start(lab: Lab, backend: Prepared, code: str, *words: str, wall_s: float = 20) -> Outcome:
    job = Job(("/usr/bin/env", "python3", "-c", code, *words), (), lab.write)
    return run(job, backend, Limits(wall_s, 1 << 30), lab.log)


def test_attached_bytes_are_read_from_the_descriptor_in_their_place(lab: Lab) -> None:
    code = "import os, sys; print([os.read(int(word), 1 << 20)[-5:] for word in sys.argv[1:]])"
    outcome = start(lab, Prepared(ONE=bytes(300_000) + b"first", TWO=b""), code, "ONE", "TWO")
    assert outcome.tail == "[b'first', b'']"


needs_root = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can lend a folder")


@pytest.fixture
def reachable(lab: Lab) -> Lab:
    for folder in (lab.write, *lab.write.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    return lab


STRANGER = 61_234


@needs_root
def test_written_folder_belongs_to_the_job_while_it_runs(reachable: Lab) -> None:
    lab = reachable
    (lab.write / "ours").write_text("before")
    code = "import os; open('ours', 'w').write('after'); os.mkdir('locked'); os.chmod('locked', 0); raise SystemError"
    outcome = start(lab, Prepared(STRANGER), code)
    assert outcome.status == "error" and outcome.tail.endswith("SystemError")
    assert (lab.write / "ours").read_text() == "after"
    assert {path.lstat().st_uid for path in (lab.write, *lab.write.iterdir())} == {os.getuid()}


@needs_root
def test_what_a_link_leads_to_keeps_its_owner(reachable: Lab, tmp_path: Path) -> None:
    lab = reachable
    (tmp_path / "precious").write_text("ours")
    (tmp_path / "theirs").write_text("of another user")
    os.chown(tmp_path / "theirs", 61_999, 61_999)
    (lab.write / "soft").symlink_to(tmp_path / "precious")
    (lab.write / "hard").hardlink_to(tmp_path / "precious")
    (lab.write / "theirs").hardlink_to(tmp_path / "theirs")
    code = f"import os; os.symlink({str(tmp_path / 'theirs')!r}, 'new'); os.chmod('soft', 0o777)"
    outcome = start(lab, Prepared(STRANGER), code)
    assert "PermissionError" in outcome.tail
    assert (tmp_path / "precious").stat().st_uid == os.getuid()
    assert (tmp_path / "theirs").stat().st_uid == 61_999


@needs_root
def test_no_file_becomes_ours_with_the_right_to_act_as_us(reachable: Lab) -> None:
    code = "import os, shutil; shutil.copy('/usr/bin/true', 'tool'); os.chmod('tool', 0o6755)"
    outcome = start(reachable, Prepared(STRANGER), code + "; print(os.stat('tool').st_mode)")
    tool = (reachable.write / "tool").stat()
    assert int(outcome.tail) & 0o6000 == 0o6000
    assert tool.st_uid == os.getuid() and tool.st_mode & 0o7777 == 0o755


@needs_root
def test_respawner_is_ended_by_its_user(reachable: Lab) -> None:
    outcome = start(reachable, Prepared(STRANGER), RESPAWN, wall_s=1)
    assert (outcome.status, outcome.seconds < 3.5) == ("timeout", True)
    assert not reachable.still_beating()


@needs_root
def test_user_that_runs_something_already_is_refused(reachable: Lab) -> None:
    with pytest.raises(LaunchError, match=r"user 0 already runs process \d+"):
        start(reachable, Prepared(0), "pass")
    assert reachable.write.stat().st_uid == os.getuid()
