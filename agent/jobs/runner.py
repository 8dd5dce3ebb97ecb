"""Starts one process of a run, on its job files, sandboxed and limited; and several side by side."""

import importlib.util
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from agent.cache import entries
from agent.config import EMBEDDED, Settings
from agent.errors import CacheChanged, DataError, Interrupted, OutOfTime, TrainingError
from agent.jobs.checked import Vouched, confirm, vouched
from agent.jobs.job_files import JobFile
from agent.jobs.machine import abreast, has_card
from agent.jobs.outputs import ERROR
from agent.jobs.progress import Progress
from agent.plan.plan import Budget, Track
from agent.plan.read import plan_of
from agent.record.files import write_whole
from agent.record.paths import RunPaths
from agent.record.printed import command
from agent.record.runs import LEAST_FREE
from sandbox import intake
from sandbox.errors import IntakeRejected
from sandbox.folder import remove
from sandbox.isolation import supervisor
from sandbox.isolation.backend import Backend
from sandbox.isolation.job import Job, Limits
from sandbox.isolation.process import Process
from sandbox.isolation.supervisor import Outcome

T = TypeVar("T")
R = TypeVar("R")
MOST_TRIES = 3
"""How often work is begun that the machine spoils: a process that is killed, an entry of the cache that changes."""
ProcessName = Literal["prepare", "pace", "teacher", "trial", "probe", "predict"]


@dataclass(frozen=True)
class Request:
    """What one process is asked to do: `python -m baselines PROCESS JOB.json …`, on one job after another."""

    name: str
    """Of its folder in the run's jobs, and of its log."""
    process: ProcessName
    jobs: Sequence[JobFile]
    out: Path
    """The one folder that it may write to."""
    read: Sequence[Path] = ()
    track: Track | None = None
    """Absent for the prepare process alone, which runs before there is a plan."""
    trials: int = 1
    """The time limit, as a multiple of the plan's time for a trial."""
    must_work: bool = True
    """Whether anything but success is an error of the run."""


@dataclass(frozen=True)
class Runner:
    paths: RunPaths
    settings: Settings
    backend: Backend
    progress: Progress
    cancelled: threading.Event
    seconds: float
    """The run's time budget."""

    @property
    def remaining(self) -> float:
        """Seconds left of it."""
        return self.seconds - self.progress.clock.spent

    def run(self, asked: Request) -> Outcome:
        """Runs the process to its end. Outside the sandbox runs the prepare process alone, since it may need the hub.

        Raises Interrupted when it was stopped, DataError for a failure that it explains, CacheChanged where what it
        read was changed meanwhile, TrainingError otherwise.
        """
        place = self.paths.jobs / asked.name
        job = self._job(asked, place, self._write_jobs(asked, place))
        known = vouched(asked.read, self.settings.cache)
        outcome, tries = self._supervised(asked, job), MOST_TRIES if asked.must_work and asked.track else 1
        while outcome.killed and (tries := tries - 1):
            self.progress.say(f"{asked.name} was killed from outside ({outcome.returncode}) and is started again")
            outcome = self._supervised(asked, job)
        self._confirm(asked, known, outcome)
        if asked.must_work and outcome.status == "cancelled":
            raise Interrupted(f"stopped while {asked.process} was running")
        if asked.must_work and outcome.status != "ok":
            self._explain(asked, outcome)
        return outcome

    def _supervised(self, asked: Request, job: Job) -> Outcome:
        backend, log = self.backend if asked.track else Process(), self.paths.logs / f"{asked.name}.log"
        outcome = supervisor.run(job, backend, self._limits(asked), log, self.cancelled)
        self._note(asked, outcome)
        return outcome

    def _confirm(self, asked: Request, known: Vouched, outcome: Outcome) -> None:
        """What came from an entry of the cache that was changed goes, also where the process was stopped: it may have
        left a checkpoint."""
        try:
            confirm(known)
        except CacheChanged:
            entries.discard(asked.out)
            if outcome.status != "cancelled":
                raise

    def _write_jobs(self, asked: Request, place: Path) -> list[Path]:
        place.mkdir(parents=True, exist_ok=True)
        files = [place / f"job-{number}.json" for number in range(len(asked.jobs))]
        for file, job in zip(files, asked.jobs, strict=True):
            write_whole(file, job.text())
        return files

    def _job(self, asked: Request, place: Path, files: Sequence[Path]) -> Job:
        threads = str(asked.track.threads if asked.track else 1)
        env = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GOMP_SPINCOUNT": "10000"}
        env |= {} if asked.track else _online(self.settings)
        argv = (sys.executable, "-m", "baselines", asked.process, *map(str, files))
        cards = tuple(map(Path, card_devices())) if asked.track else ()
        return Job(argv, (place, *asked.read), asked.out, env, hide=bundled_data(), devices=cards)

    def _limits(self, asked: Request) -> Limits:
        """The plan's; before there is a plan, the defaults. Whatever has been trained is predicted, however late."""
        plan, track = plan_of(self.paths), asked.track
        budget = plan.budget if plan else Budget(seconds=3600, memory_mb=8192)
        seconds = budget.trial_seconds * max(1, asked.trials) if plan and track else 3600.0
        wall = seconds if asked.process == "predict" else max(1.0, min(seconds, self.remaining))
        return Limits(
            wall_s=wall,
            cpu_s=wall * (1 + (track.threads if track else 2)),
            memory=(budget.memory_mb << 20) // (2 if plan else 1),
            processes=budget.processes,
            disk=budget.disk_mb << 20,
            files=budget.files,
            flood=budget.output_mb << 20,
        )

    def _note(self, asked: Request, outcome: Outcome) -> None:
        """Its time and memory, beside its job files."""
        known = {"schema": 1, "process": asked.process, "status": outcome.status, "seconds": round(outcome.seconds, 1)}
        known |= {"memory": outcome.peak_memory or 0, "trials": asked.trials}
        write_whole(self.paths.outcome(asked.name), json.dumps(known))

    def _explain(self, asked: Request, outcome: Outcome) -> None:
        process = asked.process
        with suppress(IntakeRejected):  # it left no explanation
            left = intake.read_json(asked.out, "error.json", schema=ERROR)
            raise DataError(left["message"], left.get("hint", ""))
        if "No space left on device" in outcome.tail:
            raise DataError(f"disk full: {process} could not write its files", "free some space and resume the run")
        if outcome.status == "timeout":
            self.check_time()
        last = outcome.tail.strip().splitlines()[-1:] or ["it printed nothing"]
        raise TrainingError(f"{process} ended with {outcome.status}: {last[0][:300]}", f"the whole log: {outcome.log}")

    def check_time(self) -> None:
        """Raises OutOfTime where the run's budget is spent: what cannot be compared without is not begun then."""
        if self.remaining <= 0:
            problem = f"time budget: {self.progress.clock.spent:.0f} s are spent, {self.seconds:g} s were planned"
            more = command("review", self.paths.id, "--edit", "budget.seconds=N", folder=self.paths.folder.parent)
            raise OutOfTime(problem, f"allow more in a new plan: {more}")

    def check_space(self, what: str) -> None:
        """After a process found no space: raises DataError where that is the machine's doing, not its own."""
        free = shutil.disk_usage(self.paths.folder).free
        if free < LEAST_FREE:
            problem = f"disk full: {what} could not write its files, {free >> 20} MB are free"
            raise DataError(problem, "free some space and resume the run")

    # ── several side by side ────────────────────────────────────────────────────────────────────────────────────────

    def workers(self, threads: int, need: int = 0) -> int:
        """Processes side by side: one per group of cores; on a graphics card as many as it has room for where each
        takes `need` bytes of it, and one alone where that was not measured."""
        cores = max(1, (os.cpu_count() or 1) // threads)
        return min(cores, abreast(need)) if has_card() else cores

    def parallel(self, work: Callable[[T], R], items: Sequence[T], need: int = 0) -> list[R]:
        """Results in the order of `items`. The first error stops what is running and is raised."""
        with ThreadPoolExecutor(max_workers=self.workers(1, need)) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop = not self.cancelled.is_set()
                self.cancelled.set()
                for future in futures:
                    future.cancel()
                pool.shutdown()
                if stop:  # an error, not the user: what comes next may run again
                    self.cancelled.clear()
                raise


def card_devices() -> list[str]:
    """The device files of this machine's graphics cards."""
    return sorted(map(str, Path("/dev").glob("nvidia[0-9]*")))


def fresh_folder(folder: Path) -> Path:
    """The folder, empty."""
    remove(folder)
    folder.mkdir(parents=True)
    return folder


def _online(settings: Settings) -> dict[str, str]:
    """What the prepare process needs to reach the user's Hugging Face cache and the hub."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    offline = os.environ.get("HF_HUB_OFFLINE", "0")
    found = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": offline,
        "HF_DATASETS_OFFLINE": offline,
        "KDAGENT_ARROW_CACHE": str(settings.arrow),
    }
    return found | {
        name: os.environ[name] for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "SSL_CERT_FILE") if name in os.environ
    }


def bundled_data() -> tuple[Path, ...]:
    """Data sets that ship inside packages, ours among them, and contain test labels of embedded tasks."""
    found = importlib.util.find_spec("sklearn")
    digits = (Path(found.origin).parent / "datasets" / "data",) if found and found.origin else ()
    return (*digits, EMBEDDED)
