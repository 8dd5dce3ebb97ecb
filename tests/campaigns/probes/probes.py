"""The 48 hostile probes: what each must not achieve, as the host sees it, and where it is known to bite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.campaigns.probes.fences import LIMITS, Ended, Plain
from tests.campaigns.probes.lab import Lab

Bites = Callable[[Lab, Ended], bool]


@dataclass(frozen=True)
class Probe:
    name: str
    """Of the function in hostile.py."""
    bites: Bites
    control: Plain | None = None
    """The gap through which it bites, where a plain child with a time limit already stops it."""
    harness: Literal["ours", "own", "terminal", "doomed"] = "ours"
    """The process that runs the job: ours, one that may be killed, one in a terminal, or one that we kill."""
    control_as_root: bool = False
    wall_s: float = LIMITS.wall_s
    leaves: Literal["began", "beat"] = "began"
    """The file in its folder without which it did not get under way, and there is no verdict."""


def _stole(lab: Lab, ended: Ended) -> bool:
    return any(secret in lab.said() for secret in lab.secrets.values())


def _said_so(lab: Lab, ended: Ended) -> bool:
    """Only the caller sees whether a system call was refused."""
    return bool(lab.said())


def _heard(lab: Lab, ended: Ended) -> bool:
    return lab.heard()


def _beats(lab: Lab, ended: Ended) -> bool:
    return lab.beating()


def _changed(name: str) -> Bites:
    return lambda lab, ended: lab.written(name)


def _linked(lab: Lab, ended: Ended) -> bool:
    return (lab.out / "hard").exists()


def _planted(lab: Lab, ended: Ended) -> bool:
    return bool(lab.said()) or any(file.lstat().st_mode & 0o6000 for file in lab.out.iterdir())


def _killed(lab: Lab, ended: Ended) -> bool:
    return lab.prey.poll() is not None


def _headless(lab: Lab, ended: Ended) -> bool:
    return ended.status == "gone" or lab.beating()


def _flooded(lab: Lab, ended: Ended) -> bool:
    return lab.log.stat().st_size > LIMITS.output + 4096


def _hog(name: str) -> Probe:
    """With more time than the others, so that it is its own limit that stops it; it says so when none did."""
    return Probe(name, _said_so, wall_s=60)


def _lasting(name: str, **more: Any) -> Probe:
    return Probe(name, _beats, leaves="beat", **more)


PROBES = (
    Probe("env_secret", _stole),
    Probe("proc_environ", _stole),
    Probe("proc_cmdline", _stole),
    Probe("home_key", _stole),
    Probe("heldout_labels", _stole),
    Probe("ptrace", _stole),
    Probe("write_outside", _changed("outside")),
    Probe("persist_home", _changed("home")),
    Probe("tamper_harness", _changed("harness")),
    Probe("symlink_write", _changed("linked")),
    Probe("hardlink_out", _linked),
    Probe("shm_leftover", lambda lab, ended: lab.left_in_memory()),
    Probe("tmp_leftover", lambda lab, ended: lab.left_in_tmp()),
    Probe("setuid_plant", _planted),
    Probe("setuid_exec", _said_so),
    Probe("tcp_loopback", _heard),
    Probe("tcp_hostip", _heard),
    Probe("listen_port", _heard),
    Probe("udp_dns", _heard),
    Probe("outside_route", _said_so),
    Probe("mptcp", _heard),
    Probe("unix_path", _heard),
    Probe("unix_abstract", _heard),
    Probe("odd_sockets", _said_so),
    Probe("kill_other", _killed),
    Probe("kill_supervisor", _headless, harness="own"),
    _lasting("daemon_timeout"),
    _lasting("daemon_exit"),
    _lasting("respawner"),
    _hog("fork_bomb"),
    _hog("mem_hog"),
    _hog("mem_shared"),
    _hog("mem_multi"),
    _hog("shm_fill"),
    _hog("disk_fill"),
    _hog("inode_bomb"),
    _hog("tmp_fill"),
    _hog("disk_fill_many"),
    Probe("unshare_user", _said_so),
    Probe("io_uring", _said_so),
    Probe("kernel_surface", _said_so),
    Probe("mount_fs", _said_so, Plain(prefix=("unshare", "--user", "--map-root-user", "--mount"))),
    _lasting("ignore_sigterm", control=Plain(end="terminate")),
    _lasting("busy_loop", control=Plain(end="never")),
    Probe("stdout_flood", _flooded, Plain(keep_output=True)),
    Probe("inherited_fd", _stole, Plain(close_fds=False)),
    Probe("raw_devices", _said_so, Plain(), control_as_root=True),
    Probe("tty_inject", _heard, harness="terminal"),
)
HONEST = Probe("honest", lambda lab, ended: not (ended.status == "ok" and lab.said() == "worked"))
ORPHAN = _lasting("supervisor_killed", harness="doomed")
"""Does what the job started die with the process that started the job, when that one is killed?"""
ALL = (HONEST, *PROBES, ORPHAN)
