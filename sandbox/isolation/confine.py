"""The launcher of the backends without namespaces, run as `python -I confine.py POLICY FILTER COMMAND…`.

It starts one command under limits, and under Landlock and a filter of system calls where the policy has rules; adopts
every orphan among its descendants; kills all of them when the command has ended; and ends with the command's status,
128 + n for a signal. It imports nothing of ours: no variable and no folder can influence it.
"""

import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, DEVICE_COMMANDS = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
_TRUNCATE = 1 << 14
_ALL = (1 << 16) - 1  # every right over files that Landlock 5 and later know
WRITE = _ALL & ~(DEVICE_COMMANDS | 1 << 6 | 1 << 9 | 1 << 11)  # nor the making of devices and sockets
_FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | DEVICE_COMMANDS
_TCP = 0b11  # binding and connecting
_SIGNALS, _ABSTRACT_SOCKETS = 0b10, 0b01
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # Landlock's system calls

_DEATH_SIGNAL, _KEEP_CAPABILITIES, _SECCOMP, _DROP_CAPABILITY = 1, 8, 22, 24
_ADOPT_ORPHANS, _NO_NEW_PRIVILEGES, _AMBIENT = 36, 38, 47
_READ_PAST_MODES = 2  # CAP_DAC_READ_SEARCH

_linux = sys.platform == "linux"
_c = ctypes.CDLL(None, use_errno=True)


def landlock() -> int:
    """The version of Landlock in this kernel, 0 where there is none."""
    try:
        return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def main(policy: dict[str, Any], program: bytes, command: list[str]) -> NoReturn:
    """Runs `command` to its end and exits with its status, 128 + n for a signal, 126 where it cannot be started."""
    fenced = _linux and _look_after(policy["rules"] is not None)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    child = status = 0
    try:
        child = os.fork()
        if child == 0:
            _become(policy, program, command)
        status = _wait(child)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all(child, fenced)
    sys.exit(status)


def _look_after(fence: bool) -> bool:
    """Makes orphans ours, and us end when our parent does. True when signals of ours reach descendants only."""
    _prctl(_ADOPT_ORPHANS, 1)
    _prctl(_DEATH_SIGNAL, signal.SIGTERM)  # one that lets us kill all descendants first
    if not fence:
        return False
    _restrict(_ruleset(scoped=_SIGNALS))
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return True
    return False


def _wait(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_all(child: int, fenced: bool) -> None:
    """Kills what is left; behind the fence in one call, which no fork can outrun."""
    with suppress(ChildProcessError):
        while True:
            for pid in (-1,) if fenced else _children(child):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.001)


def _children(child: int) -> list[int]:
    """All that are our children now, orphans we adopted included; where the kernel does not say, the one we made."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return [child]


def _become(policy: dict[str, Any], program: bytes, command: list[str]) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _limit(policy["limits"])
        if policy["rules"] is not None:
            rules = _ruleset(_ALL, _TCP, _SIGNALS | _ABSTRACT_SOCKETS)
            for path, rights in policy["rules"]:
                _allow(rules, path, rights, frozenset(policy["hide"]))
            _change_user(policy["uid"], policy["read_past_modes"])
            _restrict(rules)
        if _linux:
            _prctl(_DEATH_SIGNAL, signal.SIGKILL)
        os.closerange(3, 1 << 16)
        if program:
            _filter(program)
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(2, f"kdagent: {command[0]} was not started: {error}\n".encode())
    os._exit(126)


def _limit(limits: dict[str, list[int]]) -> None:
    for name, (soft, hard) in limits.items():
        which = getattr(resource, f"RLIMIT_{name.upper()}")
        if name == "nproc":
            if not _linux:  # it would count all that the user runs
                continue
            soft = hard = soft + _threads()
        most = resource.getrlimit(which)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(which, (soft, hard))


def _threads() -> int:
    """How many threads our user has: what the kernel's limit on processes counts. Root's are not limited."""
    count = 0
    for name in filter(str.isdecimal, os.listdir("/proc") if os.getuid() else ()):
        with suppress(OSError), open(f"/proc/{name}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
            count += int(fields["Threads"]) * (int(fields["Uid"].split()[0]) == os.getuid())
    return count


def _change_user(uid: int | None, read_past_modes: bool) -> None:
    if uid is None:
        return
    kept = {_READ_PAST_MODES} if read_past_modes else set()
    for capability in set(range(64)) - kept:
        with suppress(OSError):  # the kernel knows fewer
            _prctl(_DROP_CAPABILITY, capability)
    _prctl(_KEEP_CAPABILITIES, bool(kept))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    bits = sum(1 << capability for capability in kept)
    _check(_c.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", bits, bits, bits, 0, 0, 0)), "capset")
    for capability in kept:
        _prctl(_AMBIENT, 2, capability)


def _ruleset(files: int = 0, network: int = 0, scoped: int = 0) -> int:
    attributes = struct.pack("=QQQ", files, network, scoped)
    return _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))


def _allow(ruleset: int, path: str, rights: int, hidden: frozenset[str]) -> None:
    """Rights over a file, or over a folder and all in it but what is hidden, of which only the names can be listed."""
    for place, allowed in _without(path, rights, hidden):
        with suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                allowed &= _FOR_FILES
            if allowed:
                rule = struct.pack("=Qi", allowed, descriptor)
                _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
            os.close(descriptor)


def _without(path: str, rights: int, hidden: Iterable[str]) -> Iterator[tuple[str, int]]:
    below = [place for place in hidden if f"{place}/".startswith(f"{path}/")]
    if not below:
        yield path, rights
    elif path not in below:
        yield path, rights & READ_DIR
        for entry in os.scandir(path):
            if not entry.is_symlink():  # what it leads to has a rule of its own, or none
                yield from _without(entry.path, rights, below)


def _restrict(ruleset: int) -> None:
    _prctl(_NO_NEW_PRIVILEGES, 1)
    _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _filter(program: bytes) -> None:
    held = ctypes.create_string_buffer(program, len(program))
    _prctl(_SECCOMP, 2, struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))


def _prctl(option: int, *values: int | bytes) -> None:
    words = [value if isinstance(value, bytes) else ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    _check(_c.prctl(option, *words), f"prctl {option}")


def _call(number: int, *values: Any) -> int:
    return _check(_c.syscall(ctypes.c_long(number), *values), f"system call {number}")


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    _program = b"" if sys.argv[2] == "-" else os.fdopen(int(sys.argv[2]), "rb").read()
    main(json.loads(sys.argv[1]), _program, sys.argv[3:])
