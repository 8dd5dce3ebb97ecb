"""The verdicts as a table, their sums, and what in them is wrong."""

import platform
from collections.abc import Iterator

from tests.campaigns.probes.column import COLUMNS, FENCES, Verdict
from tests.campaigns.probes.probes import HONEST, ORPHAN, PROBES

Verdicts = dict[str, dict[str, Verdict]]
_MARKS = {"bites": "bites", "contained": "·", "not_run": "?"}


def ran(verdicts: Verdicts, column: str) -> bool:
    return any(verdict.outcome != "not_run" for verdict in verdicts[column].values())


def markdown(verdicts: Verdicts) -> str:
    rows = [f"| probe | {' | '.join(COLUMNS)} |", "|---|" + "---|" * len(COLUMNS)]
    rows += [f"| {probe.name} | {' | '.join(_cells(verdicts, probe.name))} |" for probe in PROBES]
    rows.append(f"| **contained** | {' | '.join(_count(verdicts, column) for column in COLUMNS)} |")
    rows.append(f"| an honest job works | {' | '.join(_answers(verdicts, HONEST.name))} |")
    rows.append(f"| all ends when the supervisor is killed | {' | '.join(_answers(verdicts, ORPHAN.name))} |")
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}, {platform.machine()}"
    return "\n".join([*rows, "", *sums(verdicts), f"Measured on {system}, Python {platform.python_version()}."])


def sums(verdicts: Verdicts) -> list[str]:
    """One line for each column, the ones that could not run in capitals."""
    lines = []
    for column in FENCES:
        if ran(verdicts, column):
            lines.append(f"{column}: {_contained(verdicts, column)} of {len(PROBES)} contained.  ")
        else:
            lines.append(f"{column}: NOT RUN, no statement: {verdicts[column][HONEST.name].detail}.  ")
    unseen = [probe.name for probe in PROBES if not _bitten(verdicts, probe.name)]
    without = f" (NOT SEEN: {', '.join(unseen)})" if unseen else ""
    return [*lines, f"Seen to bite without the fence: {len(PROBES) - len(unseen)} of {len(PROBES)}{without}.  "]


def faults(verdicts: Verdicts) -> Iterator[str]:
    """Every reason for which the set has not passed."""
    columns = [column for column in FENCES if ran(verdicts, column)]
    if not columns:
        yield "no isolation works here: nothing was shown"
    for column in columns:
        for name in (HONEST.name, *(probe.name for probe in PROBES)):
            verdict = verdicts[column][name]
            if verdict.outcome != "contained":
                yield f"{column}: {name} {verdict.outcome}: {verdict.detail}"
    for probe in PROBES:
        found = verdicts["control" if probe.control else "off"][probe.name]
        needs_root = probe.control_as_root and found.outcome == "not_run"  # the sum says that it is missing
        if not _bitten(verdicts, probe.name) and not needs_root:
            yield f"{probe.name} was never seen to bite: {found.outcome}, {found.detail}"


def _cells(verdicts: Verdicts, name: str) -> list[str]:
    needed = {probe.name for probe in PROBES if probe.control}
    return [
        "" if column == "control" and name not in needed else _MARKS[verdicts[column][name].outcome]
        for column in COLUMNS
    ]


def _answers(verdicts: Verdicts, name: str) -> list[str]:
    words = {"contained": "yes", "bites": "no", "not_run": "?"}
    return ["" if column == "control" else words[verdicts[column][name].outcome] for column in COLUMNS]


def _contained(verdicts: Verdicts, column: str) -> int:
    return sum(verdicts[column][probe.name].outcome == "contained" for probe in PROBES)


def _count(verdicts: Verdicts, column: str) -> str:
    return str(_contained(verdicts, column)) if ran(verdicts, column) and column != "control" else ""


def _bitten(verdicts: Verdicts, name: str) -> bool:
    return any(verdicts[column][name].outcome == "bites" for column in ("off", "control"))
