"""The backends with real children. Each escape is also tried without the fence, to show that the attempt bites."""

import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sandbox.errors import IsolationUnavailable, LaunchError
from sandbox.isolation.backend import Backend
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.choose import BACKENDS, choose
from sandbox.isolation.job import Limits
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.names import ISOLATION
from tests.sandbox.lab import ROOT, Lab, needs, problem

needs_bwrap = needs("bwrap")
needs_landlock = needs("landlock")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


EACH = [
    pytest.param(each, id=each.name, marks=needs(each.name))
    for each in sorted(BACKENDS, key=lambda each: each.level > 0)
]
"""First without protection, to show that the attempt bites."""


@pytest.fixture(params=EACH)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


# what all promise


def test_job_runs_in_its_folder(lab: Lab, backend: Backend) -> None:
    code = f"import os, pathlib; open('made', 'w').write(open('{lab.data}/file').read()); "
    outcome = lab.run(code + "print(os.getcwd(), pathlib.Path.home())", backend)
    assert outcome.tail == f"{lab.out} {lab.out}"
    assert (outcome.status, (lab.out / "made").read_text()) == ("ok", "data")


def test_no_secret_enters_the_environment(lab: Lab, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    monkeypatch.setenv("ANYTHING", "canary")
    outcome = lab.run("import os; print(*sorted(os.environ))", backend, env={"OMP_NUM_THREADS": "1"})
    names = set(outcome.tail.split())
    assert {"OMP_NUM_THREADS", "HF_HUB_OFFLINE", "PYTHONHASHSEED", "HOME", "PYTORCH_NVML_BASED_CUDA_CHECK"} <= names
    assert not {"OPENAI_API_KEY", "ANYTHING", "USERPROFILE"} & names
    assert lab.run("import os; print('canary' in str(os.environ))", backend).tail == "False"


def test_memory_that_was_given_back_is_taken_again_without_asking_the_kernel(lab: Lab, backend: Backend) -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only GNU's C library is told how to keep memory")
    code = """
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def steps(count):
    for _ in range(count):
        parts = [bytearray(1 << 24) for _ in range(4)]

steps(2)
before = faults()
steps(20)
print(faults() - before)
"""
    pages = 20 * 4 * (1 << 24) // os.sysconf("SC_PAGE_SIZE")
    assert int(lab.run(code, backend).tail) < pages / 50


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "hf_token", "MY_SECRET", "PGPASSWORD", "LD_PRELOAD", "https_proxy"])
def test_variables_that_carry_secrets_or_code_are_refused(lab: Lab, backend: Backend, name: str) -> None:
    with pytest.raises(LaunchError, match=name):
        lab.run("pass", backend, env={name: "x"})


def test_our_package_is_found_and_modules_left_in_the_folder_are_not(lab: Lab, backend: Backend) -> None:
    (lab.out / "json.py").write_text("print('hijacked')")
    code = "import json, baselines; print(baselines.__file__)"
    assert lab.run(code, backend).tail == str(ROOT / "baselines" / "__init__.py")


@pytest.mark.parametrize("place", ["missing", "relative"])
def test_paths_that_cannot_be_shown_are_named(lab: Lab, backend: Backend, place: str) -> None:
    path = Path("data") if place == "relative" else lab.data / "missing"
    for job in ({"read": (path,)}, {"write": path}):
        with pytest.raises(LaunchError, match=str(path)):
            lab.run("pass", backend, **job)


def test_file_cannot_be_hidden(lab: Lab, backend: Backend) -> None:
    with pytest.raises(LaunchError, match="not a folder"):
        lab.run("pass", backend, hide=(lab.data / "file",))


# what the plain process does not keep, and the others do


def each(outside: str, bwrap: str, landlock: str) -> pytest.MarkDecorator:
    """What the log must say without a fence, which shows that the attempt bites, and behind each."""
    cases = [
        pytest.param(*each.values, said, id=each.id, marks=each.marks)
        for each, said in zip(EACH, (outside, bwrap, landlock), strict=True)
    ]
    return pytest.mark.parametrize(("backend", "expected"), cases)


@pytest.fixture
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@each("connected", "ConnectionRefusedError", "PermissionError")
def test_network(lab: Lab, server: int, backend: Backend, expected: str) -> None:
    code = f"import socket; socket.create_connection(('127.0.0.1', {server}), 5); print('connected')"
    assert expected in lab.run(code, backend).tail


@each("connected", "ConnectionRefusedError", "PermissionError")
def test_abstract_sockets(lab: Lab, backend: Backend, expected: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0kdagent-{os.getpid()}")
        listening.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0kdagent-{os.getpid()}'); print('connected')"
        assert expected in lab.run(code, backend).tail


@each("secret", "FileNotFoundError", "PermissionError")
def test_files_outside_read(lab: Lab, backend: Backend, expected: str) -> None:
    assert expected in lab.run(f"print(open('{lab.secret}/file').read())", backend).tail


@each("secret", "FileNotFoundError", "PermissionError")
def test_files_outside_reached_by_a_link_in_the_folder(lab: Lab, backend: Backend, expected: str) -> None:
    (lab.out / "link").symlink_to(lab.secret)
    assert expected in lab.run("print(open('link/file').read())", backend).tail


@each("killed", "ProcessLookupError", "PermissionError")
def test_processes_outside(lab: Lab, backend: Backend, expected: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        outcome = lab.run(f"import os; os.kill({victim.pid}, 9); print('killed')", backend)
        victim.kill()
    assert expected in outcome.tail


@pytest.mark.parametrize("backend", EACH[1:])
def test_only_the_write_folder_can_be_written(lab: Lab, backend: Backend) -> None:
    code = """
import os, sys
for folder in sys.path[1:] + [sys.prefix, sys.base_prefix, "/", "/usr", "/etc", "/dev", "/proc", "/proc/sys/kernel"]:
    try:
        open(os.path.join(folder, "canary"), "w")
        print("written", folder)
    except OSError:
        pass
for path in [DATA, DATA + "/file", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"]:
    try:
        os.close(os.open(path, os.O_WRONLY)) if os.path.isfile(path) else os.mkdir(path + "/canary")
        print("written", path)
    except OSError:
        pass
open("mine", "w"), open("/dev/null", "w"), tempfile.TemporaryFile()
print("done")
"""
    assert lab.run(f"import tempfile\nDATA = {str(lab.data)!r}\n{code}", backend).tail == "done"
    assert (lab.out / "mine").exists()


@needs_bwrap
def test_temporary_folders_are_the_jobs_own(lab: Lab) -> None:
    name = f"kdagent-{os.getpid()}"
    code = f"open('/tmp/{name}', 'w'), open('/dev/shm/{name}', 'w'); print('done')"
    assert lab.run(code, Bubblewrap()).tail == "done"
    assert not Path("/tmp", name).exists() and not Path("/dev/shm", name).exists()


@needs_bwrap
def test_no_capability_is_left(lab: Lab) -> None:
    code = "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')])"
    assert set(lab.run(code, Bubblewrap()).tail.split()) == {"0" * 16}


@needs_bwrap
def test_hidden_folder_looks_empty(lab: Lab) -> None:
    (lab.data / "labels").mkdir()
    (lab.data / "labels" / "test.csv").write_text("1")
    code = f"import os; print(os.listdir('{lab.data}/labels'), open('{lab.data}/file').read())"
    assert lab.run(code, Bubblewrap()).tail == "['test.csv'] data"
    assert lab.run(code, Bubblewrap(), hide=(lab.data / "labels", lab.data / "absent")).tail == "[] data"
    touch = f"open('{lab.data}/labels/canary', 'w')"
    assert "Read-only file system" in lab.run(touch, Bubblewrap(), hide=(lab.data / "labels",)).tail


@needs_bwrap
def test_hiding_reaches_through_links(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(lab.data)
    (lab.data / "labels").mkdir()
    (lab.data / "labels" / "test.csv").write_text("1")
    for name in (lab.data, tmp_path / "link"):
        code = f"import os; print(os.listdir('{lab.data}/labels'), os.listdir('{tmp_path}/link/labels'))"
        outcome = lab.run(code, Bubblewrap(), read=(lab.data, tmp_path / "link"), hide=(name / "labels",))
        assert outcome.tail == "[] []"


@needs_bwrap
def test_part_of_the_python_environment_can_be_hidden(lab: Lab) -> None:
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    bundled = Path(package.origin).parent / "datasets" / "data"
    code = f"import os; print(len(os.listdir('{bundled}')))"
    assert int(lab.run(code, Bubblewrap()).tail) > 1
    assert lab.run(code, Bubblewrap(), hide=(bundled,)).tail == "0"


@needs_bwrap
@pytest.mark.parametrize("parent", ["/tmp", "/dev/shm", str(Path.home()), "/var/tmp"])
def test_paths_may_lie_anywhere(parent: str) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        lab = Lab(Path(folder))
        code = f"print(open('{lab.data}/file').read()); open('made', 'w').write('x')"
        assert lab.run(code, Bubblewrap()).tail == "data"
        assert (lab.out / "made").read_text() == "x"
        assert "FileNotFoundError" in lab.run(f"open('{lab.secret}/file')", Bubblewrap()).tail


@needs_bwrap
def test_folders_may_lie_in_each_other(lab: Lab) -> None:
    inner = lab.data / "inner"
    inner.mkdir()
    code = f"open('{inner}/made', 'w'); open('{lab.data}/made', 'w')"
    assert "Read-only" in lab.run(code, Bubblewrap(), write=inner).tail
    assert (inner / "made").exists()
    code = f"open('{lab.data}/made', 'w'); open('{inner}/again', 'w')"
    assert "Read-only" in lab.run(code, Bubblewrap(), read=(inner,), write=lab.data).tail
    assert (lab.data / "made").exists() and not (inner / "again").exists()


@needs_bwrap
def test_single_files_can_be_shown(lab: Lab) -> None:
    code = f"import os; print(os.listdir('{lab.data}'), open('{lab.data}/file').read())"
    (lab.data / "other").write_text("")
    assert lab.run(code, Bubblewrap(), read=(lab.data / "file",)).tail == "['file'] data"


@needs_bwrap
def test_runs_beside_our_package_are_not_visible(lab: Lab) -> None:
    code = f"import os; print(*sorted(os.listdir('{ROOT}')))"
    assert set(lab.run(code, Bubblewrap()).tail.split()) <= {".venv", "baselines"}


BEAT = "import time, pathlib\nfor n in range(10**6): pathlib.Path('beat').write_text(str(n)); time.sleep(0.02)"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def beating(lab: Lab) -> bool:
    time.sleep(0.1)  # the kernel may be ending it
    before, deadline = (lab.out / "beat").read_text(), time.monotonic() + 0.8
    while (same := (lab.out / "beat").read_text() == before) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not same


@pytest.mark.parametrize("backend", EACH)
def test_detached_grandchild_dies_with_the_job(lab: Lab, backend: Backend) -> None:
    daemon = f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: exec({BEAT!r})\n    os._exit(0)\n"
    outcome = lab.run(f"import os, time\n{daemon}time.sleep(0.5)", backend)
    assert (outcome.status, outcome.returncode) == ("ok", 0)
    assert not beating(lab)


@pytest.mark.parametrize("backend", EACH)
def test_detached_grandchild_dies_when_we_are_killed(lab: Lab, backend: Backend) -> None:
    daemon = f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    exec({BEAT!r})\ntime.sleep(60)"
    job = f"Job((sys.executable, '-c', {daemon!r}), (), Path({str(lab.out)!r}))"
    code = f"""
import sys
from pathlib import Path
from sandbox.isolation.bubblewrap import Bubblewrap
from sandbox.isolation.landlock import Landlock
from sandbox.isolation.process import Process
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.supervisor import run
run({job}, {type(backend).__name__}(), Limits(60, 1 << 30), Path({str(lab.log)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as harness:
        wait_for(lab.out / "beat")
        assert beating(lab)
        harness.kill()
    assert not beating(lab)


@needs_bwrap
def test_limits_hold_inside(lab: Lab) -> None:
    assert lab.run("import time; time.sleep(60)", Bubblewrap(), Limits(1, 1 << 30)).status == "timeout"
    hog = "held = []\nwhile True: held.append(bytearray(1 << 20))"
    assert lab.run(hog, Bubblewrap(), Limits(20, 200 << 20)).status == "memory"
    full = "open('/tmp/big', 'wb').write(bytes(3 << 20))"
    assert lab.run(full, Bubblewrap(), Limits(20, 1 << 30, file_size=2 << 20)).status == "error"


@pytest.mark.parametrize(("backend", "workers"), [(Bubblewrap(), 1), (Landlock(), 0)], ids=["bwrap", "landlock"])
def test_torch_trains_inside(lab: Lab, backend: Backend, workers: int) -> None:
    if problem(backend.name):
        pytest.skip(f"NOT TESTED, {problem(backend.name)}")
    code = f"""
import torch
from torch.utils.data import DataLoader
model = torch.nn.Linear(4, 2)
for x in DataLoader(torch.randn(8, 4), batch_size=4, num_workers={workers}):
    model(x).sum().backward()
print(torch.__version__, torch.cuda.is_available())
"""
    outcome = lab.run(code, backend, env={"OMP_NUM_THREADS": "1"})
    assert outcome.status == "ok", outcome.tail


@needs_bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED, only root has a user id to drop")
def test_root_gives_each_job_a_user_of_its_own(lab: Lab) -> None:
    code = "import os; print(*os.getresuid(), *os.getresgid(), os.getgroups(), os.stat('file').st_uid)"
    first, second = (lab.run(code, Bubblewrap()).tail.split() for _ in range(2))
    assert len(set(first[:6])) == 1 and first[6:] == ["[]", first[0]]
    assert len({first[0], second[0], "0"}) == 3
    assert (lab.out / "file").stat().st_uid == 0


@needs_bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED, only root has a user id to drop")
def test_what_a_dropped_user_cannot_read_is_named(lab: Lab) -> None:
    (lab.data / "file").chmod(0o600)
    with pytest.raises(LaunchError, match=f"cannot read {lab.data}/file") as caught:
        lab.run("pass", Bubblewrap(), read=(lab.data / "file",))
    assert "chmod" in caught.value.hint


# choosing


def test_process_is_chosen_only_with_a_plain_warning() -> None:
    backend = choose("process")
    assert (backend.name, backend.level) == ("process", 0)
    assert any(line.startswith("files: everything") for line in backend.not_protected)
    assert any(line.startswith("network: open") for line in backend.not_protected)


def test_what_can_be_asked_for_are_the_backends_strongest_first() -> None:
    assert ("auto", *(each.name for each in BACKENDS)) == ISOLATION
    levels = [each.level for each in BACKENDS]
    assert levels == sorted(levels, reverse=True) and levels[-1] == 0


@needs_bwrap
def test_auto_takes_the_strongest_that_works() -> None:
    backend = choose()
    assert (backend.name, backend.level, backend.selftest) == ("bwrap", 3, "8 of 8")


@needs_landlock
def test_auto_takes_landlock_where_namespaces_are_closed() -> None:
    said = choose_where("unshare", "clone(namespaces)")
    assert said == "landlock 2 8 of 8"


def test_nothing_falls_back_to_a_plain_process() -> None:
    said = choose_where("unshare", "clone(namespaces)", "landlock_create_ruleset")
    assert said.startswith("IsolationUnavailable bwrap: ") and "; landlock: this kernel has Landlock 0" in said
    assert said.endswith("run without protection: --isolation process")


def choose_where(*refused: str) -> str:
    """What `choose` says in a process to which the kernel refuses these system calls, as some containers do."""
    code = """
import errno, sys
from pyseccomp import ALLOW, ERRNO, MASKED_EQ, Arg, SyscallFilter
from sandbox.errors import IsolationUnavailable
from sandbox.isolation.choose import choose
rules = SyscallFilter(ALLOW)
for call in sys.argv[1:]:
    if call == "clone(namespaces)":
        rules.add_rule(ERRNO(errno.EPERM), "clone", Arg(0, MASKED_EQ, 0x20000, 0x20000))
    else:
        rules.add_rule(ERRNO(errno.EPERM), 444 if call == "landlock_create_ruleset" else call)
rules.load()
try:
    backend = choose()
    print(backend.name, backend.level, backend.selftest)
except IsolationUnavailable as error:
    print("IsolationUnavailable", error.message, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code, *refused], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_missing_bubblewrap_is_an_error_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IsolationUnavailable, match="bwrap is not installed") as caught:
        choose("bwrap")
    assert "apt install bubblewrap" in caught.value.hint and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("bwrap: No permissions to create new namespace, likely because the kernel does not allow it", "container"),
        ("bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded", "sysctl"),
        ("bwrap: setting up uid map: Permission denied", "AppArmor"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "nested"),
    ],
)
def test_bubblewrap_that_fails_gives_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, advice: str
) -> None:
    (tmp_path / "bwrap").write_text(f'#!/bin/sh\necho "{said}" >&2; exit 1\n')
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(IsolationUnavailable) as caught:
        choose("bwrap")
    assert said in caught.value.message and advice in caught.value.hint
