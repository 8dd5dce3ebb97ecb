"""Records that nobody altered, as runs leave them at every kind of stop; verify must have nothing to say about them."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.record import runs
from agent.record.paths import RunPaths
from tests.agent.command import TINY, Kdagent

NOWHERE = ("--model", "nobody", "--base-url", "http://127.0.0.1:9/v1")
LONGEST = 600  # seconds until a run has come as far as it must


@dataclass(frozen=True)
class Place:
    """Where runs are made, and where copies of them are kept."""

    folder: Path

    @property
    def kdagent(self) -> Kdagent:
        return Kdagent(self.folder / "runs", self.folder / "home" / "cache")

    @property
    def last(self) -> RunPaths:
        return next(runs.every(self.folder / "runs"))

    def keep(self, name: str) -> tuple[str, RunPaths]:
        """The last run as it is now, copied."""
        target = self.folder / "kept" / name.replace(" ", "-").replace(",", "")
        return name, RunPaths(Path(shutil.copytree(self.last.folder, target)))

    def cut(self, number: int, file: str, *words: str) -> None:
        """Send a signal as soon as the last run holds a file of that pattern."""
        before, process = set(self.last.folder.glob(file)), self.kdagent.start(*words)
        deadline = time.monotonic() + LONGEST
        while process.poll() is None and not set(self.last.folder.glob(file)) - before:
            assert time.monotonic() < deadline, f"{file} did not come"
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=LONGEST)
        time.sleep(0.5)  # what it had started ends with it


def records(folder: Path) -> Iterator[tuple[str, RunPaths]]:
    place = Place(folder)
    yield from _one_run(place)
    yield from _carried(place)
    yield from _short(place)
    yield from _others(place)


def _one_run(place: Place) -> Iterator[tuple[str, RunPaths]]:
    """One run from its plan to its review, stopped wherever it can be."""
    kdagent = place.kdagent
    kdagent("run", "soft labels", *TINY, "--attempts", "2", "--plan-only")
    yield place.keep("planned only")
    kdagent("resume", "@last")
    yield place.keep("waiting for a review")
    kdagent("review", "@last", "--comment", "why so few rows?")
    yield place.keep("plan commented")
    kdagent("review", "@last", "--approve")
    yield place.keep("plan approved")
    place.cut(signal.SIGINT, "jobs/student_only-*/job-*.json", "resume", "@last")
    yield place.keep("interrupted in the reference arms")
    place.cut(signal.SIGKILL, "trials/*/*/*/trial.json", "resume", "@last")
    yield place.keep("killed between two trials")
    place.cut(signal.SIGKILL, "jobs/pilot-*/job-*.json", "resume", "@last")
    yield place.keep("killed in the pilot")
    place.cut(signal.SIGINT, "jobs/attempt-1-*/job-*.json", "resume", "@last")
    yield place.keep("interrupted in an attempt")
    place.cut(signal.SIGKILL, "jobs/predict-test-*/job-*.json", "resume", "@last")
    yield place.keep("killed while it predicts")
    place.cut(signal.SIGKILL, "results.json", "resume", "@last")
    yield place.keep("killed before its report")
    kdagent("resume", "@last")
    yield place.keep("finished after eight stops")
    kdagent("review", "@last", "--comment", "a second look")
    yield place.keep("report commented")


def _carried(place: Place) -> Iterator[tuple[str, RunPaths]]:
    """The finished run, carried elsewhere."""
    for name, flags in (("imported", ()), ("imported with weights and data", ("--weights", "--data"))):
        archive, target = place.folder / f"{len(flags)}.tar.gz", place.folder / f"imported-{len(flags)}"
        target.mkdir()
        place.kdagent("export", "@last", str(archive), *flags)
        place.kdagent("import", str(archive), "--runs-dir", str(target))
        yield name, next(runs.every(target))


def _short(place: Place) -> Iterator[tuple[str, RunPaths]]:
    """Runs that end before they train."""
    kdagent = place.kdagent
    kdagent("run", "soft labels", *TINY, "--plan-only")
    kdagent("review", "@last", "--reject", "--comment", "too small")
    yield place.keep("plan rejected")
    kdagent("review", "@last", "--edit", "temperature=4")
    yield place.keep("plan amended")
    kdagent("run", "soft labels", *TINY, *NOWHERE, "--yes")
    yield place.keep("no model answered")
    broken = place.folder / "broken.csv"
    broken.write_text("text,label\nonly,1\n")
    kdagent("run", "soft labels", "--data", str(broken), "--isolation", "process", "--yes")
    yield place.keep("data refused")


def _others(place: Place) -> Iterator[tuple[str, RunPaths]]:
    """Whole runs with other plans."""
    kdagent = place.kdagent
    kdagent("run", "the last layers of the teacher", *TINY, "--seeds", "3", "--method", "kd_selective", "--yes")
    yield place.keep("finished, features")
    kdagent("run", "soft labels", *TINY, "--seeds", "3", "--budget", "25s", "--yes")
    yield place.keep("out of time")
