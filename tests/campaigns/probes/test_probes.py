"""Hostile probes, each seen to bite without a fence and to be contained behind every one.

A few by default; all of them with KDAGENT_PROBES=all. `python -m tests.campaigns.probes` also runs them
as another user.
"""

import os
import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.page import put
from tests.campaigns.probes import table
from tests.campaigns.probes.column import COLUMNS, FENCES, Verdict, measure
from tests.campaigns.probes.lab import HOSTILE
from tests.campaigns.probes.probes import ALL, HONEST, PROBES, Probe

QUICK = (
    *("env_secret", "proc_environ", "heldout_labels", "write_outside", "setuid_plant", "tcp_loopback", "unix_path"),
    *("kill_other", "daemon_exit", "kernel_surface", "inherited_fd", "fork_bomb"),
)
CHOSEN = [probe for probe in PROBES if os.environ.get("KDAGENT_PROBES") == "all" or probe.name in QUICK]
USER = "root" if os.geteuid() == 0 else "user"
HERE = [fence for fence in FENCES if fence.endswith(USER)]


@cache
def verdicts(name: str) -> dict[str, Verdict]:
    return measure(name, [HONEST.name, *(probe.name for probe in CHOSEN)])


def verdict(name: str, probe: Probe) -> Verdict:
    found = verdicts(name)
    if all(each.outcome == "not_run" for each in found.values()):
        pytest.skip(f"NOT TESTED, {name} does not work here: {found[HONEST.name].detail}")
    return found[probe.name]


def test_there_are_48_each_with_its_attempt() -> None:
    attempts = re.findall(r"^def (\w+)\(aim: Aim\)", HOSTILE.read_text(), re.MULTILINE)
    names = [probe.name for probe in PROBES]
    assert len(set(names)) == len(names) == 48
    assert set(names) <= set(attempts)


@pytest.mark.parametrize("probe", CHOSEN, ids=lambda probe: probe.name)
def test_probe_bites_without_a_fence(probe: Probe) -> None:
    found = verdict("control" if probe.control else "off", probe)
    if probe.control_as_root and os.geteuid():
        pytest.skip(f"NOT TESTED, {found.detail}")
    assert found.outcome == "bites", found.detail


@pytest.mark.parametrize("fence", HERE)
@pytest.mark.parametrize("probe", [HONEST, *CHOSEN], ids=lambda probe: probe.name)
def test_probe_is_contained(fence: str, probe: Probe) -> None:
    found = verdict(fence, probe)
    assert found.outcome == "contained", found.detail


def _all(outcome: str) -> dict[str, Verdict]:
    return {probe.name: Verdict(outcome, "why") for probe in ALL}  # type: ignore[arg-type]


def test_table_counts_what_was_contained_and_blames_what_was_not() -> None:
    found: table.Verdicts = {name: _all("contained") for name in COLUMNS}
    found["off"], found["control"] = _all("bites"), _all("bites")
    assert not list(table.faults(found))
    assert "bwrap user: 48 of 48 contained" in table.markdown(found)
    found["landlock user"] = _all("not_run")
    assert not list(table.faults(found))
    assert "landlock user: NOT RUN" in table.markdown(found)
    found["bwrap root"]["ptrace"] = Verdict("not_run", "it broke")
    assert [*table.faults(found)] == ["bwrap root: ptrace not_run: it broke"]
    found["off"]["mptcp"] = found["control"]["mptcp"] = Verdict("contained")
    assert "mptcp was never seen to bite" in [*table.faults(found)][-1]
    assert "no isolation works here" in next(table.faults({name: _all("not_run") for name in COLUMNS}))


def test_table_is_written_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "security.md"
    page.write_text("<!-- probes -->\nold\n<!-- /probes -->\n\nprose")
    put(page, "probes", "new")
    assert page.read_text().splitlines() == ["<!-- probes -->", "new", "<!-- /probes -->", "", "prose"]
    with pytest.raises(ValueError, match="has no place for the table"):
        put(page, "cost", "new")
