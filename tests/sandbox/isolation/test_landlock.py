"""What is particular to Landlock, with real children; what it shares with bubblewrap is tested with the backends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.errors import LaunchError
from sandbox.isolation import confine
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.supervisor import run
from tests.sandbox.lab import LIMITS, Lab, needs

pytestmark = needs("landlock")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def denied(lab: Lab, attempt: str, **job: object) -> bool:
    return bool(all_denied(lab, [attempt], **job))


def all_denied(lab: Lab, attempts: list[str], **job: object) -> list[str]:
    """Those of the attempts that were denied, all made in one process."""
    code = f"""
import os, socket, resource
for attempt in {attempts!r}:
    try:
        eval(attempt)
    except PermissionError:
        print(attempt)
"""
    outcome = lab.run(code, Landlock(), **job)
    assert outcome.status == "ok", outcome.tail
    return outcome.tail.splitlines()


def test_all_that_is_not_named_is_denied(lab: Lab) -> None:
    attempts = [
        "os.listdir('/')",
        "os.listdir('/tmp')",
        "os.listdir('/proc')",
        "open('/proc/self/environ')",
        "open(f'/proc/{os.getppid()}/cmdline')",
        "open('/etc/passwd')",
        "open('/dev/shm/x', 'w')",
        "open('/dev/tty')",
        f"os.mkfifo('{lab.secret}/pipe')",
        f"os.rename('{lab.secret}/file', 'file2')",
        f"os.truncate('{lab.data}/file', 0)",
        f"os.mkdir('{lab.data}/folder')",
        f"os.unlink('{lab.data}/file')",
        "os.mknod('device', 0o020600)",
        f"os.chmod('{lab.secret}/file', 0o777)",
        f"os.utime('{lab.secret}/file')",
        f"os.setxattr('{lab.secret}/file', 'user.x', b'y')",
        "socket.socket()",
        "socket.socketpair()",
        "os.kill(os.getppid(), 0)",
        "os.kill(1, 0)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 1)",
    ]
    assert all_denied(lab, attempts) == attempts
    assert os.listdir(lab.secret) == os.listdir(lab.data) == ["file"]


def test_file_that_may_be_read_gets_no_name_by_which_it_can_be_written(lab: Lab) -> None:
    assert lab.run(f"import os; os.link('{lab.data}/file', 'second')", Landlock()).status == "error"
    assert os.listdir(lab.out) == ["file"]
    os.link(lab.data / "file", lab.out / "second")  # one file system: without the fence it can be done


def test_what_training_does_is_not_denied(lab: Lab) -> None:
    attempts = [
        "open('/proc/cpuinfo').readline()",
        f"os.listdir('{lab.data}')",
        "os.mkdir('folder')",
        "os.rename('file', 'renamed')",
        "os.symlink('file', 'link')",
        "os.mkfifo('pipe')",
        "os.system('exit 0')",
        "open('/dev/null', 'w').write('x')",
        "os.urandom(1)",
        "resource.getrlimit(resource.RLIMIT_NPROC)",
    ]
    assert all_denied(lab, attempts) == []


def test_hidden_files_cannot_be_read_and_their_neighbours_can(lab: Lab) -> None:
    (lab.data / "labels" / "deep").mkdir(parents=True)
    (lab.data / "labels" / "deep" / "test.csv").write_text("1")
    (lab.data / "way-out").symlink_to(lab.secret)
    deep = f"open('{lab.data}/labels/deep/test.csv').read()"
    assert not denied(lab, deep)
    for hidden in (lab.data / "labels", lab.data / "labels" / "deep", lab.data):
        assert denied(lab, deep, hide=(hidden,))
    assert not denied(lab, f"open('{lab.data}/file').read()", hide=(lab.data / "labels", lab.data / "absent"))
    assert denied(lab, f"open('{lab.data}/way-out/file').read()", hide=(lab.data / "labels",))


def test_read_only_folder_inside_the_written_one_is_refused(lab: Lab) -> None:
    (lab.out / "inner").mkdir()
    with pytest.raises(LaunchError, match="inner lies in the folder the job writes"):
        lab.run("pass", Landlock(), read=(lab.out / "inner",))


def test_written_folder_may_lie_in_one_that_is_read(lab: Lab) -> None:
    inner = lab.data / "inner"
    inner.mkdir()
    assert not denied(lab, f"open('{inner}/made', 'w')", write=inner)
    assert denied(lab, f"open('{lab.data}/made', 'w')", write=inner)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED, only root has a user id to drop")
def test_root_gives_each_job_a_user_of_its_own_that_can_at_most_read_past_modes(lab: Lab) -> None:
    code = (
        "import ctypes, os, struct; data = bytes(24); ctypes.CDLL(None).capget(struct.pack('=Ii', 0x20080522, 0), data)"
    )
    words = lab.run(f"{code}; print(*os.getresuid(), *os.getgroups(), *struct.unpack('=6I', data))", Landlock()).tail
    uid, *more = map(int, words.split())
    assert uid > 1000 and more[:2] == [uid, uid]
    assert set(more[2:]) <= {0, 1 << 2}
    assert (lab.out / "file").stat().st_uid == 0


def test_limits_of_the_kernel_hold(lab: Lab) -> None:
    code = """
import resource as r
limits = r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_CORE, r.RLIMIT_MSGQUEUE, r.RLIMIT_CPU
print(*(r.getrlimit(which)[1] for which in limits))
"""
    limits = Limits(wall_s=30, memory=1 << 30, cpu_s=7.5, file_size=1 << 20, open_files=99)
    assert lab.run(code, Landlock(), limits).tail.split() == [str(1 << 20), "99", "0", "0", "13"]


def test_signal_shows_as_128_and_its_number(lab: Lab) -> None:
    outcome = lab.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Landlock())
    assert (outcome.status, outcome.returncode) == ("error", 128 + signal.SIGSEGV)


def test_program_that_does_not_exist_is_named(lab: Lab) -> None:
    outcome = run(Job(("/usr/bin/absent",), (), lab.out), Landlock(), LIMITS, lab.log)
    assert outcome.status == "error" and "/usr/bin/absent was not started: [Errno 2]" in outcome.tail


RESPAWNER = """
import os, time
if os.fork():
    time.sleep(60)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    open("beat", "w").write(str(time.monotonic()))
"""


def test_launcher_ends_what_forks_without_end_and_nothing_else(lab: Lab) -> None:
    """A chain of orphans, each of which lives for less than a millisecond: one call must end them all."""
    rules = [["/usr", confine.READ], ["/lib", confine.READ], ["/lib64", confine.READ], [str(lab.out), confine.WRITE]]
    rules += [[path, confine.READ] for path in (sys.prefix, os.path.realpath(sys.base_prefix))]
    policy = {"limits": {}, "rules": rules, "hide": [], "uid": None, "read_past_modes": False}
    argv = (sys.executable, "-I", confine.__file__, json.dumps(policy), "-", sys.executable, "-c", RESPAWNER)
    with subprocess.Popen(["sleep", "60"]) as bystander, subprocess.Popen(argv, cwd=lab.out) as launcher:
        while not (lab.out / "beat").exists() and launcher.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)
        launcher.terminate()
        launcher.wait(10)
        spared = bystander.poll() is None
        bystander.kill()
    beat = (lab.out / "beat").read_text()
    time.sleep(0.3)
    assert (lab.out / "beat").read_text() == beat
    assert spared
