"""The filter over system calls that namespaces and Landlock do not cover and training does not need.

Everything not named here is allowed. Foreign architectures are killed, which is libseccomp's default.
"""

import errno
import tempfile
from functools import cache
from typing import TYPE_CHECKING

from sandbox.errors import IsolationUnavailable

if TYPE_CHECKING:
    from pyseccomp import Arg, SyscallFilter

_UNFILTERED = "system calls cannot be filtered"
HINTS = {_UNFILTERED: "install libseccomp, for example: apt install libseccomp2"}
"""What to do next, by a part of the problem."""

_REFUSED = (
    *("mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("move_mount", "open_tree", "mount_setattr", "unshare", "setns", "swapon", "swapoff", "quotactl", "quotactl_fd"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "memfd_secret", "name_to_handle_at", "open_by_handle_at", "fanotify_init"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "acct", "syslog"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname"),
    *("iopl", "ioperm", "modify_ldt", "uselib", "vhangup", "lookup_dcookie", "nfsservctl"),
)
_ABSENT = ("clone3", "openat2")  # their arguments lie in memory, where a filter cannot see; callers use the older ones
_NEWER = range(452, 600)  # what kernels learned after the filter was written, fchmodat2 first
_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW…
_FAMILIES = {1, 2, 10, 16}  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_TERMINAL = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into a terminal
_MODES = {
    **{"chmod": 1, "fchmod": 1, "fchmodat": 2, "creat": 1, "mknod": 1, "mknodat": 2},
    **{"open": 2, "openat": 3, "mq_open": 2},
}
"""Where each call takes a file mode."""

_STRICT = (
    *("socket", "socketpair", "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl"),
    *("semget", "semop", "semtimedop", "semctl", "mq_open", "mq_unlink", "inotify_add_watch"),
    # Landlock does not guard these on files it shows, and the files may be the user's own
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat"),
    *("futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
_OTHERS = {
    **{"prlimit64": 0, "setpriority": 1, "ioprio_set": 1, "migrate_pages": 0, "move_pages": 0},
    **{"sched_setaffinity": 0, "sched_setattr": 0, "sched_setparam": 0, "sched_setscheduler": 0},
}
"""Where each call names the process it changes, 0 for its own."""


@cache
def program(strict: bool = False) -> bytes:
    """The filter as the kernel takes it. `strict` is for a job without namespaces of its own: no sockets, no IPC.

    Raises IsolationUnavailable when libseccomp is missing.
    """
    try:
        from pyseccomp import ALLOW, SyscallFilter
    except (ImportError, OSError, RuntimeError) as error:
        raise IsolationUnavailable(f"{_UNFILTERED}: {error}", HINTS[_UNFILTERED]) from error
    rules = SyscallFilter(ALLOW)
    _refuse_always(rules)
    if strict:
        _refuse_strictly(rules)
    else:
        _refuse_families(rules)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _refuse_always(rules: "SyscallFilter") -> None:
    for name in _REFUSED:
        _refuse(rules, name)
    for call in (*_ABSENT, *_NEWER):
        _refuse(rules, call, code=errno.ENOSYS)
    for flag in _NAMESPACES:
        _refuse(rules, "clone", _bits(0, flag, flag))
    for name, place in _MODES.items():
        for bit in (0o4000, 0o2000):
            _refuse(rules, name, _bits(place, bit, bit))
    for command in _TERMINAL:
        _refuse(rules, "ioctl", _bits(1, 0xFFFFFFFF, command))


def _refuse_families(rules: "SyscallFilter") -> None:
    from pyseccomp import EQ, GT, Arg

    for name in ("socket", "socketpair"):
        for family in set(range(max(_FAMILIES))) - _FAMILIES:
            _refuse(rules, name, Arg(0, EQ, family))
        _refuse(rules, name, Arg(0, GT, max(_FAMILIES)))  # also a family with bits above those the kernel looks at


def _refuse_strictly(rules: "SyscallFilter") -> None:
    from pyseccomp import NE, Arg

    for name in _STRICT:
        _refuse(rules, name)
    for name, place in _OTHERS.items():
        _refuse(rules, name, Arg(place, NE, 0))


def _refuse(rules: "SyscallFilter", call: str | int, *arguments: "Arg", code: int = errno.EPERM) -> None:
    from pyseccomp import ERRNO, Arch, resolve_syscall

    number = resolve_syscall(Arch.NATIVE, call) if isinstance(call, str) else call
    if number >= 0:  # negative: not on this architecture
        rules.add_rule(ERRNO(code), number, *arguments)


def _bits(place: int, mask: int, value: int) -> "Arg":
    """True when the argument, under the mask, is the value; bits that the kernel does not look at are left out."""
    from pyseccomp import MASKED_EQ, Arg

    return Arg(place, MASKED_EQ, mask, value)
