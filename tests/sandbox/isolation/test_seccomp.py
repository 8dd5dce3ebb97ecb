"""The filter, loaded by a real process that then makes the calls; each call is first made without it."""

import errno
import json
import os
import platform
import subprocess
import sys
from functools import cache

import pytest

from sandbox.errors import IsolationUnavailable
from sandbox.isolation import seccomp
from tests.sandbox.lab import ROOT

try:
    seccomp.program()
except IsolationUnavailable as error:
    pytest.skip(f"NOT TESTED, {error.message}", allow_module_level=True)
if platform.machine() != "x86_64":
    pytest.skip("NOT TESTED, the numbers of the calls are those of x86_64", allow_module_level=True)

HIGH = 1 << 32  # bits of an argument that the kernel does not look at
CALLS = {
    "setuid bit, chmod": (90, b"victim", 0o4755),
    "setgid bit, chmod": (90, b"victim", 0o2755),
    "setuid bit, chmod with high bits": (90, b"victim", HIGH | 0o4755),
    "setuid bit, fchmodat": (268, -100, b"victim", 0o4755),
    "setuid bit, fchmodat2": (452, -100, b"victim", 0o4755, 0),
    "setuid bit, open": (2, b"made-by-open", os.O_CREAT | os.O_WRONLY, 0o4755),
    "setuid bit, openat": (257, -100, b"made-by-openat", os.O_CREAT | os.O_WRONLY, 0o4755),
    "setuid bit, creat": (85, b"made-by-creat", 0o4755),
    "setuid bit, mknod": (133, b"made-by-mknod", 0o104755, 0),
    "user namespace, unshare": (272, 0x10000000),
    "user namespace, clone": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": (435, 0, 0),
    "openat2": (437, -100, b"victim", 0, 0),
    "io_uring": (425, 1, bytes(120)),
    "userfaultfd": (323, 1),
    "memfd_secret": (447, 0),
    "keyring": (250, 0, -3, 0),
    "handles": (303, -100, b"victim", bytes(128), bytes(4), 0),
    "ptrace": (101, 0, 0, 0, 0),
    "another's memory": (310, "self", 0, 0, 0, 0, 0),
    "packet socket": (41, 17, 3, 0),
    "vsock": (41, 40, 1, 0),
    "vsock with high bits": (41, HIGH | 40, 1, 0),
    "crypto socket": (41, 38, 5, 0),
    "typing into a terminal": (16, 0, 0x5412, b"x"),
    "typing into a terminal, with high bits": (16, 0, HIGH | 0x5412, b"x"),
    "a call newer than the filter": (460, 0, 0, 0),
}
FINE = {
    "plain chmod": (90, b"victim", 0o755),
    "unix socket": (41, 1, 1, 0),
    "tcp socket": (41, 2, 1, 0),
    "route socket": (41, 16, 3, 0),
    "pair of sockets": (53, 1, 1, 0, bytes(8)),
    "memory file": (319, b"name", 0),
    "own processors": (203, 0, 8, b"\xff" * 8),
    "window size": (16, 0, 0x5413, bytes(8)),
    "fork": (57,),
}
STRICT = {
    "unix socket": (41, 1, 1, 0),
    "pair of sockets": (53, 1, 1, 0, bytes(8)),
    "shared memory": (29, 0, 4096, 0o1600),
    "semaphores": (64, 0, 1, 0o1600),
    "queue": (68, 0, 0o1600),
    "named queue": (240, b"kdagent", 0o102, 0o600, 0),
    "plain chmod": (90, b"victim", 0o755),
    "owner": (92, b"victim", -1, -1),
    "times": (280, -100, b"victim", 0, 0),
    "attributes": (188, b"victim", b"user.x", b"y", 1, 0),
    "another's limits": (302, "parent", 7, 0, bytes(16)),
    "another's processors": (203, "parent", 8, b"\xff" * 8),
    "another's priority": (141, 0, "parent", 0),
}
STRICT_FINE = {name: FINE[name] for name in ("memory file", "own processors", "fork")} | {
    "own limits": (302, 0, 7, 0, bytes(16)),
}

CODE = """
import ctypes, json, os, struct, sys, tempfile
program, calls = bytes.fromhex(sys.argv[1]), json.loads(sys.argv[2])
os.chdir(tempfile.mkdtemp())
open("victim", "w").close()
c = ctypes.CDLL(None, use_errno=True)
c.syscall.restype = ctypes.c_long
if program:
    held = ctypes.create_string_buffer(program, len(program))
    c.prctl(38, *[ctypes.c_ulong(n) for n in (1, 0, 0, 0)])
    assert not c.prctl(22, ctypes.c_ulong(2), struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
def value(word):
    word = {"self": os.getpid(), "parent": os.getppid()}.get(word, word) if isinstance(word, str) else word
    return bytes.fromhex(word[0]) if isinstance(word, list) else ctypes.c_ulong(word)
said = {}
for name, words in calls.items():
    ctypes.set_errno(0)
    before = os.getpid()
    result = c.syscall(*[value(word) for word in words])
    if os.getpid() != before:
        os._exit(0)
    said[name] = ctypes.get_errno() if result < 0 else 0
print(json.dumps(said))
"""


@cache
def errors(table: str, which: str) -> dict[str, int]:
    """The error number of each call, 0 for success, made under the named filter."""
    program = {"none": b"", "usual": seccomp.program(), "strict": seccomp.program(strict=True)}[which]
    calls = {
        name: [[word.hex()] if isinstance(word, bytes) else word for word in words]
        for name, words in globals()[table].items()
    }
    argv = [sys.executable, "-c", CODE, program.hex(), json.dumps(calls)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    said: dict[str, int] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("which", ["usual", "strict"])
@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused(name: str, which: str) -> None:
    assert errors("CALLS", which)[name] in (errno.EPERM, errno.ENOSYS)


@pytest.mark.parametrize("name", [name for name in CALLS if "setuid" in name or "high bits" in name])
def test_the_call_is_refused_by_nothing_else(name: str) -> None:
    assert errors("CALLS", "none")[name] not in (errno.EPERM, errno.ENOSYS)


@pytest.mark.parametrize("name", FINE)
def test_what_training_needs_is_allowed(name: str) -> None:
    assert errors("FINE", "usual")[name] == errors("FINE", "none")[name] != errno.EPERM


@pytest.mark.parametrize("name", STRICT)
def test_strict_filter_refuses(name: str) -> None:
    assert errors("STRICT", "strict")[name] == errno.EPERM
    assert errors("STRICT", "none")[name] != errno.EPERM


@pytest.mark.parametrize("name", STRICT_FINE)
def test_strict_filter_allows(name: str) -> None:
    assert errors("STRICT_FINE", "strict")[name] != errno.EPERM


def test_other_architectures_are_killed() -> None:
    """The same kernel takes 32-bit calls by `int 0x80`: number 20 asks for the process id."""
    code = """
import ctypes, mmap, struct, sys
program = bytes.fromhex(sys.argv[1])
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("53b814000000cd805bc3"))
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
c = ctypes.CDLL(None)
if program:
    held = ctypes.create_string_buffer(program, len(program))
    c.prctl(38, *[ctypes.c_ulong(n) for n in (1, 0, 0, 0)])
    c.prctl(22, ctypes.c_ulong(2), struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
print(call() > 0)
"""
    plain, fenced = (
        subprocess.run([sys.executable, "-c", code, program.hex()], capture_output=True, text=True)
        for program in (b"", seccomp.program())
    )
    if plain.stdout.strip() != "True":
        pytest.skip("NOT TESTED, this kernel takes no 32-bit calls")
    assert fenced.returncode < 0 and not fenced.stdout
