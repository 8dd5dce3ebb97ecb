"""One column of the table: every probe against one fence, in a process of its own, as one user."""

import json
import os
import pty
import select
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sandbox.errors import IsolationUnavailable, SandboxError
from sandbox.isolation.choose import BACKENDS
from tests.campaigns.probes.fences import LIMITS, Backend, Ended, Fence, Plain, backend
from tests.campaigns.probes.lab import Lab
from tests.campaigns.probes.probes import ALL, Probe

FENCES = {f"{each.name} {user}": each for each in BACKENDS if each.level for user in ("root", "user")}
"""The columns that must contain every probe; a backend of level 0 is there to be seen."""
COLUMNS = ("off", "control", *FENCES, *(each.name for each in BACKENDS if not each.level))
ROOT = Path(__file__).parents[3]
ORDINARY = 54321  # a user id without a name, and so without processes of its own


@dataclass(frozen=True)
class Verdict:
    outcome: Literal["bites", "contained", "not_run"]
    detail: str = ""
    """What the probe said, how the job ended, or why there is no verdict."""


def measure(column: str, names: Iterable[str]) -> dict[str, Verdict]:
    """The verdict on each probe of that name, `honest` among them. Where the column cannot run, each says why."""
    names, root = tuple(names), os.geteuid() == 0
    if column.endswith("root") and not root:
        return dict.fromkeys(names, Verdict("not_run", "we are not root"))
    drop = root and column != "control" and not column.endswith("root")
    python = _as_ordinary() if drop else [sys.executable]
    if not python:
        reason = f"an ordinary user may run neither {sys.executable} nor /usr/bin/python3"
        return dict.fromkeys(names, Verdict("not_run", reason))
    command = [*python, "-m", "tests.campaigns.probes.column", column, *names]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True, check=True)
    return {name: Verdict(**verdict) for name, verdict in json.loads(done.stdout).items()}


def _as_ordinary() -> list[str]:
    """A Python that has no rights of ours; ours may lie in a folder that is closed to others."""
    drop = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        try_it = [*drop, "sh", "-c", '"$0" -c "import ctypes"', python]  # setpriv itself still reaches everything
        if subprocess.run(try_it, capture_output=True).returncode == 0:
            return [*drop, python]
    return []


def _environment() -> dict[str, str]:
    packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])  # for an interpreter other than ours
    return {"PATH": os.environ["PATH"], "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> None:
    column, *names = sys.argv[1:]
    chosen = [probe for probe in ALL if probe.name in names]
    try:
        if column not in ("off", "control"):
            backend(column.split()[0])
        with Lab() as lab:
            verdicts = {probe.name: _judge(lab, probe, column) for probe in chosen}
    except IsolationUnavailable as error:
        verdicts = dict.fromkeys(names, Verdict("not_run", error.message))
    print(json.dumps({name: asdict(verdict) for name, verdict in verdicts.items()}))


def _judge(lab: Lab, probe: Probe, column: str) -> Verdict:
    fence = _fence(probe, column)
    if fence is None:
        return Verdict("not_run", "it needs no control")
    if column == "control" and probe.control_as_root and os.geteuid():
        return Verdict("not_run", "the control needs root")
    lab.renew(probe.name)
    started = time.monotonic()
    try:
        ended = _run(lab, probe, fence)
        bites = probe.bites(lab, ended)
    except SandboxError as error:
        return Verdict("not_run", f"{error.message}; {error.hint}")
    finally:
        lab.sweep()
    if not (lab.out / probe.leaves).exists() or "Traceback" in ended.tail:
        return Verdict("not_run", ended.tail[-500:])
    if ended.status == "timeout" and probe.wall_s > LIMITS.wall_s:
        return Verdict("not_run", "the machine is too busy: its time was up before it had taken what it wanted")
    said = f"{ended.status} after {time.monotonic() - started:.1f} s: {lab.said() or ended.tail[-200:]}"
    return Verdict("bites" if bites else "contained", said)


def _fence(probe: Probe, column: str) -> Fence | None:
    if column in ("off", "control"):
        return Plain() if column == "off" else probe.control
    return Backend(column.split()[0])  # type: ignore[arg-type]


def _run(lab: Lab, probe: Probe, fence: Fence) -> Ended:
    if probe.harness != "ours":
        return _apart(lab, probe, fence)
    done = threading.Event()
    knocking = threading.Thread(target=lab.knock, args=(done,))
    knocking.start()
    try:
        return fence.run(lab.command(probe.name), lab.out, tuple(map(Path, _readable(lab))), lab.log, probe.wall_s)
    finally:
        done.set()
        knocking.join()


def _apart(lab: Lab, probe: Probe, fence: Fence) -> Ended:
    """Run by a harness of its own; status "gone" when that did not live to tell."""
    master, slave = pty.openpty()
    session = ("setsid", "--ctty") if probe.harness == "terminal" else ()
    places = (str(lab.out), _readable(lab), str(lab.log))
    order = json.dumps([_named(fence), lab.command(probe.name), *places, probe.wall_s])
    harness = subprocess.Popen(
        [*session, sys.executable, "-m", "tests.campaigns.probes.fences", order, str(lab.code / "aim.json")],
        cwd=ROOT,
        stdin=slave,
        stdout=subprocess.DEVNULL,
    )
    if probe.harness != "doomed":
        harness.wait(30)
    _wait_for(lab.out / probe.leaves)
    harness.kill()
    harness.wait()
    time.sleep(1 if probe.harness == "doomed" else 0)
    lab.received += _shown(master)
    os.close(slave)
    os.close(master)
    report = lab.log.with_suffix(".ended")
    return Ended(**json.loads(report.read_text())) if report.exists() else Ended("gone", harness.returncode, "")


def _named(fence: Fence) -> object:
    return fence.name if isinstance(fence, Backend) else asdict(fence)  # type: ignore[call-overload]


def _readable(lab: Lab) -> list[str]:
    return [str(lab.code), str(lab.folder / "harness")]


def _wait_for(file: Path) -> None:
    end = time.monotonic() + 10
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)


def _shown(terminal: int) -> bytes:
    """What the terminal has shown: what was written to it, and what was typed into it and echoed."""
    shown = b""
    while select.select([terminal], [], [], 0.1)[0]:
        shown += os.read(terminal, 4096)
    return shown


if __name__ == "__main__":
    main()
