"""What is planted for the probes to hit: canaries, listeners and victims of our own, all gone when the lab closes.

Nothing here leans on file modes: what lies outside is open to every user, so that it is the fence that must hold.
"""

import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

HOSTILE = Path(__file__).with_name("hostile.py")
VICTIM = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER_ANY: where Yama asks for it
secret = ctypes.create_string_buffer(sys.stdin.readline().strip().encode())
print(ctypes.addressof(secret), flush=True)
time.sleep(600)
"""
_LIBC = ctypes.CDLL(None)


class Lab:
    """`out` is what the job may write and `code` what it may read; the rest is none of its business."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="kdagent-probes-")
        self.folder = Path(self._temporary.name).resolve()
        self.out, self.code, self.log = self.folder / "out", self.folder / "code", self.folder / "log.txt"
        self.received = bytearray()
        self.secrets: dict[str, str] = {}
        self._open: list[socket.socket] = []
        self.aim: dict[str, object] = {
            **self._files(),
            **self._sockets(),
            **self._victim(),
            "leftover": f"kdagent-probe-{secrets.token_hex(6)}",
            "key": secrets.randbelow(1 << 30) + 1,
            "disk": os.stat("/").st_dev,
        }
        os.environ["PROBE_API_KEY"] = self._secret("env_secret")
        self._inherited = os.open(self._write("inherited", self._secret("inherited_fd")), os.O_RDONLY)
        os.set_inheritable(self._inherited, True)
        self.renew("none")

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.sweep()
        del os.environ["PROBE_API_KEY"]
        os.close(self._inherited)
        for listening in self._open:
            listening.close()
        for victim in (self._keeper, self.prey):
            victim.kill()
            victim.wait()
        self._temporary.cleanup()

    def renew(self, probe: str) -> None:
        """An empty folder, a living prey, and a token of its own for the next probe."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        for file in self.folder.glob("log.*"):
            file.unlink()
        if self.prey.poll() is not None:
            self.prey = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.token = f"canary-{probe}-{secrets.token_hex(8)}"
        self.aim |= {"token": self.token, "prey": self.prey.pid, "free_port": _free_port(), "supervisor": os.getpid()}
        Path(self.code, "aim.json").write_text(json.dumps(self.aim))

    def command(self, probe: str) -> tuple[str, ...]:
        return sys.executable, "-u", str(self.code / "hostile.py"), probe, str(self.code / "aim.json")

    # what the host sees

    def said(self) -> str:
        file = self.out / "said"
        return file.read_text() if file.exists() else ""

    def heard(self) -> bool:
        """Did a listener receive the token?"""
        time.sleep(0.1)
        return self.token.encode() in self.received

    def written(self, name: str) -> bool:
        """Has the file outside been made, changed or taken away?"""
        path = Path(str(self.aim[name]))
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        return not all(file.exists() and self.token not in file.read_text() for file in files)

    def beating(self) -> bool:
        """Does a process of the job still tick?"""
        file = self.out / "beat"
        before = file.read_bytes() if file.exists() else b""
        time.sleep(0.3)
        return file.exists() and file.read_bytes() != before

    def left_in_memory(self) -> bool:
        """Shared memory, a segment or a queue of the name that the probe was given."""
        name = str(self.aim["leftover"])
        queue = _LIBC.mq_open(f"/{name}".encode(), os.O_RDONLY)
        segment = _LIBC.shmget(self.aim["key"], 0, 0)
        return Path("/dev/shm", name).exists() or queue != -1 or segment != -1

    def left_in_tmp(self) -> bool:
        return any(Path(folder, str(self.aim["leftover"])).exists() for folder in ("/tmp", "/var/tmp"))

    def sweep(self) -> None:
        """Ends what a probe left running and takes away what it left lying."""
        for _ in range(50):
            if not (found := [pid for pid in _pids() if self._ours(pid)]):
                break
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in found:
                    with suppress(OSError):
                        os.kill(pid, number)
            time.sleep(0.02)
        name = str(self.aim["leftover"])
        for folder in ("/dev/shm", "/tmp", "/var/tmp"):
            with suppress(OSError):
                Path(folder, name).unlink()
            shutil.rmtree(Path(folder, name), ignore_errors=True)
        _LIBC.mq_unlink(f"/{name}".encode())
        if (segment := _LIBC.shmget(self.aim["key"], 0, 0)) != -1:
            _LIBC.shmctl(segment, 0, None)  # IPC_RMID

    def _ours(self, pid: int) -> bool:
        with suppress(OSError):
            return os.fsencode(self.code / "hostile.py") in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False

    # what is planted

    def _secret(self, name: str) -> str:
        self.secrets[name] = f"canary-{name}-{secrets.token_hex(8)}"
        return self.secrets[name]

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o666)
        return path

    def _files(self) -> dict[str, object]:
        self.folder.chmod(0o755)
        for name in ("code", "home", "outside"):
            (self.folder / name).mkdir()
        self._write("code/hostile.py", HOSTILE.read_text())
        self._write("home/.bashrc", "# mine\n")
        files = {
            "harness": self._write("harness/harness.py", "# ours\n"),
            "linked": self._write("linked/file", ""),
            "hardlink": self._write("hardlink/file", self._secret("hardlink")),
            "home_key": self._write("home/.ssh/id_probe", self._secret("home_key")),
            "labels": self._write("labels/test.csv", self._secret("heldout_labels")),
            "home": self.folder / "home",
            "outside": self.folder / "outside",
        }
        for file in files.values():
            (file if file.is_dir() else file.parent).chmod(0o777)
        return {name: str(path) for name, path in files.items()}

    def _sockets(self) -> dict[str, object]:
        path, abstract = self.folder / "engine.sock", f"kdagent-probes-{secrets.token_hex(6)}"
        address = _address()
        port = self._listen(socket.AF_INET, ("127.0.0.1", 0))[1]
        outside = self._listen(socket.AF_INET, (address, 0))[1]
        udp = self._listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)[1]
        self._listen(socket.AF_UNIX, str(path))
        self._listen(socket.AF_UNIX, f"\0{abstract}")
        path.chmod(0o777)
        return {
            "port": port,
            "address_outside": address,
            "port_outside": outside,
            "udp_port": udp,
            "socket": str(path),
            "abstract": abstract,
        }

    def _listen(self, family: int, address: object, kind: int = socket.SOCK_STREAM) -> tuple[str, int]:
        listening = socket.socket(family, kind)
        listening.bind(address)  # type: ignore[arg-type]
        if kind == socket.SOCK_STREAM:
            listening.listen()
        self._open.append(listening)
        threading.Thread(target=self._receive, args=(listening,), daemon=True).start()
        return listening.getsockname()  # type: ignore[no-any-return]

    def _receive(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed
            while True:
                if listening.type == socket.SOCK_DGRAM:
                    self.received += listening.recv(200)
                    continue
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(1)
                    self.received += connection.recv(200)

    def knock(self, done: threading.Event) -> None:
        """Looks, until the probe is done, whether it has opened the port that it was given."""
        while not done.wait(0.05):
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", int(str(self.aim["free_port"]))), 1) as found,
            ):
                self.received += found.recv(200)

    def _victim(self) -> dict[str, object]:
        """One keeps secrets in its environment, its command line and its memory; the other is there to be killed."""
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", VICTIM, self._secret("proc_cmdline")],
            env={"PROBE_API_KEY": self._secret("proc_environ")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.prey = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        self._keeper.stdin.write(self._secret("ptrace") + "\n")
        self._keeper.stdin.flush()
        return {"victim": self._keeper.pid, "address": int(self._keeper.stdout.readline())}


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if re.fullmatch(r"\d+", name)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _address() -> str:
    """This machine's own address that is not loopback; 127.0.0.2 where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("198.51.100.7", 53))
        except OSError:
            return "127.0.0.2"
        return str(asking.getsockname()[0])
