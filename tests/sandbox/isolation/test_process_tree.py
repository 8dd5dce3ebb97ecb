"""Real processes of this machine, found and ended without the supervisor."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.isolation.process_tree import Tree, listed, memory, process_of, unnamed


@contextmanager
def leader(code: str) -> Iterator[Tree]:
    """The first process of a session, after it has done what `code` says; it then sleeps."""
    code = f"import os, sys, time\n{code}\nprint('ready', flush=True)\ntime.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        try:
            yield Tree(child.pid)
        finally:
            child.kill()


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


GRANDCHILD = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() and {leaves}: time.sleep(0.5); os._exit(0)\n"


def test_members_in_other_sessions_are_found_and_ended() -> None:
    with leader(GRANDCHILD.format(leaves=False)) as tree:
        assert soon(lambda: len(tree.look()) == 3)
        pids = [entry.pid for entry in tree.look()]
        tree.kill()
        assert tree.look(thorough=True) == [] and not any(map(running, pids))


def test_orphan_in_another_session_is_known_by_having_been_seen() -> None:
    with leader(GRANDCHILD.format(leaves=True)) as tree:
        assert soon(lambda: len(tree.look()) == 3)
        assert soon(lambda: len(tree.look()) == 2)
        (orphan,) = (entry.pid for entry in tree.look() if entry.pid != tree.root)
        tree.kill()
        assert not running(orphan)


def test_orphan_in_the_same_session_is_found_though_never_seen() -> None:
    with leader("if os.fork() == 0: os.fork() and os._exit(0)\nelse: time.sleep(0.3)") as tree:
        assert len(tree.look(thorough=True)) == 2


def test_root_is_asked_to_end_its_processes_first(tmp_path: Path) -> None:
    said = f"open({str(tmp_path / 'asked')!r}, 'w').close(); os._exit(0)"
    with leader(f"import signal\ndef asked(*_): {said}\nsignal.signal(signal.SIGTERM, asked)") as tree:
        tree.kill()
    assert (tmp_path / "asked").exists()


def test_processor_time_of_children_counts_once_they_are_waited_for() -> None:
    # The kernel tells four counts in whole ticks, so what it tells may be four of them short.
    burn = "import time\nwhile time.process_time() < 0.35: pass"
    with leader(f"import subprocess\nsubprocess.run([sys.executable, '-c', {burn!r}])") as tree:
        tree.look()
        assert 0.3 <= tree.cpu_s < 1


def test_deleted_files_held_open_are_measured(tmp_path: Path) -> None:
    code = f"f = open({str(tmp_path / 'gone')!r}, 'wb'); f.write(bytes(3 << 20)); f.flush(); os.remove(f.name)"
    with leader(code) as tree:
        assert 3 << 20 in unnamed(tree.look()).values()


def test_a_user_of_its_own_runs_no_process() -> None:
    assert process_of(os.getuid()) is not None
    assert process_of(61_987) is None


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
def test_listing_by_ps_agrees_with_what_the_tree_reads() -> None:
    with leader("") as tree:
        (seen,) = tree.look()
        entry = listed()[seen.pid]
    assert (entry.pid, entry.parent, entry.session) == (seen.pid, seen.parent, seen.session)
    assert seen.memory / 2 < entry.memory < seen.memory * 2
    assert entry.own_s <= seen.own_s + 1


def test_a_process_that_has_ended_since_it_was_seen_holds_nothing() -> None:
    """Else a job whose processes share memory would be stopped for it while they end."""
    with leader("") as tree:
        (entry,) = tree.look()
        assert memory([entry], limit=0) > 0
    assert memory([entry], limit=0) == 0
